-- Orders, and the counter that numbers them without gaps or repeats.

CREATE TABLE orders (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at           timestamptz   NOT NULL DEFAULT now(),
    updated_at           timestamptz   NOT NULL DEFAULT now(),
    number               text          NOT NULL UNIQUE CHECK (number ~ '^ORD_[0-9]{8}_[0-9]{3,9}$'),
    business_date        date          NOT NULL,
    customer_name        text          NOT NULL
        CHECK (char_length(customer_name) BETWEEN 1 AND 100)
        CHECK (customer_name = btrim(customer_name))
        -- The application checks for letters of any script; this excludes other ASCII characters.
        CHECK (customer_name !~ '[\x01-\x1f!-&(-,./:-@[-`{-\x7f]'),
    type                 text          NOT NULL CHECK (type IN ('dine_in', 'takeout', 'delivery')),
    table_number         integer       CHECK (table_number BETWEEN 1 AND 100),
    delivery_address     text          CHECK (char_length(delivery_address) BETWEEN 10 AND 200),
    notes                text          CHECK (char_length(notes) <= 200),
    total_amount         numeric(10,2) NOT NULL CHECK (total_amount BETWEEN 0.01 AND 199998),
    priority             integer       NOT NULL,
    status               text          NOT NULL DEFAULT 'received'
        CHECK (status IN ('received', 'cooking', 'ready', 'completed', 'cancelled')),
    processed_by         text,
    completed_at         timestamptz,
    estimated_completion timestamptz,

    CONSTRAINT table_is_for_dine_in      CHECK ((type = 'dine_in') = (table_number IS NOT NULL)),
    CONSTRAINT address_is_for_delivery   CHECK ((type = 'delivery') = (delivery_address IS NOT NULL)),
    CONSTRAINT priority_follows_total    CHECK (
        priority = CASE WHEN total_amount > 100 THEN 10 WHEN total_amount >= 50 THEN 5 ELSE 1 END),
    CONSTRAINT completed_at_set_at_ready CHECK (
        (completed_at IS NOT NULL) = (status IN ('ready', 'completed'))),
    CONSTRAINT cooked_by_someone         CHECK (
        processed_by IS NOT NULL OR status IN ('received', 'cancelled'))
);

-- For waiting and cooking orders: partial indexes, small however long the history is.
CREATE INDEX orders_waiting ON orders (type, priority DESC, id) WHERE status = 'received';
CREATE INDEX orders_cooking ON orders (processed_by) WHERE status = 'cooking';
-- For lists, newest first, and for the statistics of a day.
CREATE INDEX orders_by_status ON orders (status, id DESC);
CREATE INDEX orders_by_type ON orders (type, id DESC);
CREATE INDEX orders_by_business_date ON orders (business_date);

-- The legal status changes of an order; the application has them as ORIGINS in models/status.py.
CREATE FUNCTION refuse_illegal_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.status, NEW.status) NOT IN (
        ('received', 'cooking'),
        ('cooking', 'ready'),
        ('ready', 'completed'),
        ('received', 'cancelled'),
        ('cooking', 'cancelled')
    ) THEN
        RAISE EXCEPTION 'order % cannot go from % to %', OLD.number, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'legal_move';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER legal_move BEFORE UPDATE OF status ON orders FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION refuse_illegal_move();

CREATE FUNCTION refuse_illegal_birth() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'order % cannot start as %', NEW.number, NEW.status
        USING ERRCODE = 'check_violation', CONSTRAINT = 'legal_birth';
END $$;

CREATE TRIGGER legal_birth BEFORE INSERT ON orders FOR EACH ROW
    WHEN (NEW.status <> 'received') EXECUTE FUNCTION refuse_illegal_birth();

-- One row per business date. Drawing a number locks the row until the transaction ends, so that the
-- numbers have no gaps; a sequence would leave one at every rollback.
CREATE TABLE order_counters (
    business_date date    PRIMARY KEY,
    last_number   integer NOT NULL CHECK (last_number > 0)
);
