-- What people have marked as sold out (86), and counts that run down as orders are placed. The menu
-- itself is a file; a row limits what the file offers, until a time or until the row is deleted.
CREATE TABLE menu_availability (
    -- How the menu identifies it: sku:…, name:… for an item without one, option:… for a modifier.
    item       text        PRIMARY KEY CHECK (item ~ '^(sku|name|option):.' AND length(item) <= 400),
    -- Portions that are left; 0 means sold out.
    remaining  integer     NOT NULL CHECK (remaining BETWEEN 0 AND 99999),
    until      timestamptz,
    changed_at timestamptz NOT NULL,
    -- The person or the API key; null without access control.
    changed_by text
);
