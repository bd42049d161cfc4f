-- A person may cancel an order that is ready. The application has the legal moves as ORIGINS in
-- models/status.py.
CREATE OR REPLACE FUNCTION refuse_illegal_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.status, NEW.status) NOT IN (
        ('received', 'cooking'),
        ('cooking', 'ready'),
        ('ready', 'cooking'),
        ('ready', 'completed'),
        ('received', 'cancelled'),
        ('cooking', 'cancelled'),
        ('ready', 'cancelled')
    ) THEN
        RAISE EXCEPTION 'order % cannot go from % to %', OLD.number, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'legal_move';
    END IF;
    RETURN NEW;
END $$;

-- A key without an order belongs to an order that was cancelled before it arrived. A process of the
-- previous release refuses such an order, too: to it the key was used for another one.
ALTER TABLE idempotency_keys
    ALTER COLUMN fingerprint DROP NOT NULL,
    ALTER COLUMN order_id DROP NOT NULL,
    ADD CONSTRAINT cancelled_key_has_no_order
        CHECK ((fingerprint IS NULL) = (order_id IS NULL));

-- The channels' ids of orders, each taken once, for ever: also when the order's personal data is
-- erased, or the order is deleted. So the id is stored as a hash, and the first answer with it.
-- A row without an order: the order was cancelled before it arrived.
CREATE TABLE external_orders (
    -- SHA-256 of channel and id.
    digest       bytea       PRIMARY KEY CHECK (octet_length(digest) = 32),
    created_at   timestamptz NOT NULL DEFAULT now(),
    -- SHA-256 of the validated order.
    fingerprint  bytea       CHECK (octet_length(fingerprint) = 32),
    order_id     bigint,
    total_amount numeric,
    -- Only of an order that has been deleted.
    order_number text,
    CONSTRAINT cancelled_id_has_no_order
        CHECK (num_nulls(fingerprint, order_id, total_amount) IN (0, 3))
);

-- For the erasure of fingerprints.
CREATE INDEX external_orders_by_order ON external_orders (order_id) WHERE order_id IS NOT NULL;

CREATE FUNCTION keep_number_of_external_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE external_orders SET order_number = OLD.number WHERE order_id = OLD.id;
    RETURN NULL;
END $$;

CREATE TRIGGER number_of_external_order_is_kept AFTER DELETE ON orders
    FOR EACH ROW EXECUTE FUNCTION keep_number_of_external_order();
