-- Prepare the partitions of migration 037. A row with an id that is this large does not exist.
-- The constraints are checked by the next migration: not here, because this one locks the tables.
-- Ids of orders are drawn from a sequence that outlives the identity column of the old table. A
-- statement of a process that goes on looks up the sequence before it waits for the locks of a
-- migration, and fails if the sequence is then dropped.

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

-- Grant on a new table or sequence what is granted on another one, and give it the same owner.
CREATE FUNCTION copy_rights(source regclass, target regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    kind text := (SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END
                  FROM pg_class WHERE oid = target);
    granted record;
BEGIN
    -- The sequence of an identity column follows its table.
    IF kind = 'TABLE' OR NOT EXISTS (SELECT FROM pg_depend WHERE objid = target AND deptype = 'i') THEN
        EXECUTE (SELECT format('ALTER %s %s OWNER TO %s', kind, target, relowner::regrole)
                 FROM pg_class WHERE oid = source);
    END IF;
    FOR granted IN
        SELECT acl.*, '' AS columns
        FROM pg_class CROSS JOIN LATERAL aclexplode(relacl) AS acl
        WHERE pg_class.oid = source AND acl.grantee <> relowner
        UNION ALL
        SELECT acl.*, format('(%I)', attname)
        FROM pg_attribute CROSS JOIN LATERAL aclexplode(attacl) AS acl
        WHERE attrelid = source AND NOT attisdropped
    LOOP
        EXECUTE format('GRANT %s %s ON %s %s TO %s%s', granted.privilege_type, granted.columns,
                       kind, target,
                       CASE granted.grantee WHEN 0 THEN 'PUBLIC'
                                            ELSE granted.grantee::regrole::text END,
                       CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
    END LOOP;
END $$;

SELECT lock_order_tables(1000000);

ALTER TABLE orders ADD CONSTRAINT id_precedes_months CHECK (id < 1000000000000) NOT VALID;
ALTER TABLE order_items
    ADD CONSTRAINT order_id_precedes_months CHECK (order_id < 1000000000000) NOT VALID;
ALTER TABLE order_status_log
    ADD CONSTRAINT order_id_precedes_months CHECK (order_id < 1000000000000) NOT VALID;

ALTER SEQUENCE orders_id_seq RENAME TO orders_identity_seq;
CREATE SEQUENCE orders_id_seq;
SELECT copy_rights('orders_identity_seq', 'orders_id_seq');
-- The statements that wait at present draw their ids from the old one.
SELECT setval('orders_id_seq', last_value + 10000000) FROM orders_identity_seq;
