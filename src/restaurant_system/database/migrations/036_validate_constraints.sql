-- Old items may have names that migration 014 refuses, and did not look for.
UPDATE order_items
SET name = regexp_replace(
    name, '[\x80-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]', '?', 'g')
WHERE name ~ '[\x80-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]';

-- Read each table once, while orders are placed and cooked: the lock of VALIDATE admits both.
-- A partition needs the constraints of its table, and that of its ids, validated.
DO $$
DECLARE
    of_table regclass;
    validations text;
BEGIN
    FOR of_table, validations IN
        SELECT conrelid, string_agg(format('VALIDATE CONSTRAINT %I', conname), ', ')
        FROM pg_constraint
        WHERE conrelid IN ('orders'::regclass, 'order_items'::regclass,
                           'order_status_log'::regclass)
          AND contype = 'c' AND NOT convalidated
        GROUP BY conrelid ORDER BY conrelid
    LOOP
        EXECUTE format('ALTER TABLE %s %s', of_table, validations);
    END LOOP;
END $$;
