-- Many orders are stored by one statement, in which a key is stored before its order has a number.
-- So a key refers to the order, whose number and amount never change, instead of to the response.

ALTER TABLE idempotency_keys ADD COLUMN order_id bigint;

UPDATE idempotency_keys SET order_id = orders.id FROM orders WHERE number = order_number;
DELETE FROM idempotency_keys WHERE order_id IS NULL;

ALTER TABLE idempotency_keys
    ALTER COLUMN order_id SET NOT NULL,
    DROP COLUMN order_number,
    DROP COLUMN total_amount;
