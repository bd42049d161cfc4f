-- From which amounts on an order has a higher priority is a setting.

ALTER TABLE orders
    DROP CONSTRAINT priority_follows_items_total,
    ADD CONSTRAINT priority_is_known CHECK (priority IN (1, 5, 10)) NOT VALID;

-- The warnings whose begin has been logged, so that of several processes one logs it, and its end.
CREATE TABLE logged_warnings (
    kind     text        NOT NULL,
    subject  text        NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, subject)
);
