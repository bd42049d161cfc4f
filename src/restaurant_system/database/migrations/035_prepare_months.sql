-- Prepare the partitions of migration 037. A row with an id that is this large does not exist.
-- The constraints are checked by the next migration: not here, because this one locks the tables.

-- Lock the tables of orders against all others until the transaction ends, without a deadlock:
-- statements lock them in different sequences. What was locked is unlocked before the next attempt,
-- so that orders wait for moments only, also while a report that takes hours reads one of the tables.
CREATE FUNCTION lock_order_tables(attempts integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL lock_timeout = '200ms';
    FOR attempt IN 1..attempts LOOP
        BEGIN
            LOCK TABLE orders, order_items, order_status_log, station_tickets, order_resends;
            SET LOCAL lock_timeout = 0;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.1 + 0.2 * random());
        END;
    END LOOP;
    RAISE lock_not_available USING MESSAGE = 'other sessions have the tables of orders locked';
END $$;

SELECT lock_order_tables(1000000);

ALTER TABLE orders ADD CONSTRAINT id_precedes_months CHECK (id < 1000000000000) NOT VALID;
ALTER TABLE order_items
    ADD CONSTRAINT order_id_precedes_months CHECK (order_id < 1000000000000) NOT VALID;
ALTER TABLE order_status_log
    ADD CONSTRAINT order_id_precedes_months CHECK (order_id < 1000000000000) NOT VALID;
