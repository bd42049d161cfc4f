-- Partition orders, their items and their log by the month of the order's business date.
--
-- The id of an order begins with its month, as in 2612000000000123, so that ids still grow with time.
-- Items and log rows are in the partition that corresponds to that of their order. Ids below
-- 1000000000000 are of orders from before this migration, or from processes of the previous release
-- that still run; they are in the partition `earlier`.
--
-- No row is read or moved: migration 036 has checked what the old tables need to become partitions.

-- Ids of the orders of a month are larger than this one, and those of earlier months are smaller.
CREATE FUNCTION first_order_id(in_month date) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((extract(year FROM in_month)::bigint - 2000) * 100 + extract(month FROM in_month)::bigint)
       * 1000000000000;

SELECT lock_order_tables(1000000);

ALTER TABLE station_tickets DROP CONSTRAINT station_tickets_order_id_fkey;
ALTER TABLE order_resends DROP CONSTRAINT order_resends_order_id_fkey;
DROP TRIGGER legal_move ON orders;
DROP TRIGGER legal_birth ON orders;
DROP TRIGGER marks_are_of_ready_orders ON orders;
DROP TRIGGER number_of_external_order_is_kept ON orders;

DO $$
DECLARE
    old_name text;
    key text;
    constraint_name text;
    earlier regclass;
    sequence_name text;
    old_sequence regclass;
    index_name text;
    tables regclass[] := ARRAY['orders', 'order_items', 'order_status_log'];
    dependents text;
    view_definitions text[];
    view_definition text;
BEGIN
    -- What refers to a table would refer to the partition. Views are defined again; of the rest, the
    -- administrator knows how it is to be with partitions.
    SELECT string_agg(name, ', ') INTO dependents FROM (
        SELECT pg_describe_object(classid, objid, objsubid) AS name FROM pg_depend
        WHERE refclassid = 'pg_class'::regclass AND refobjid = ANY (tables)
          AND (classid IN ('pg_policy'::regclass, 'pg_publication_rel'::regclass,
                           'pg_proc'::regclass)
               OR classid = 'pg_rewrite'::regclass AND objid IN (
                   SELECT pg_rewrite.oid FROM pg_rewrite JOIN pg_class ON pg_class.oid = ev_class
                   WHERE relkind <> 'v')
               OR classid = 'pg_constraint'::regclass AND objid IN (
                   SELECT oid FROM pg_constraint WHERE contype = 'f' AND conrelid <> ALL (tables))
               OR classid = 'pg_trigger'::regclass AND objid IN (
                   SELECT oid FROM pg_trigger WHERE NOT tgisinternal))
        UNION
        SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend
        WHERE classid = to_regclass('pg_publication_namespace')  -- since PostgreSQL 15
          AND refobjid IN (SELECT relnamespace FROM pg_class WHERE oid = ANY (tables))
        UNION
        SELECT 'publication ' || pubname FROM pg_publication WHERE puballtables AND NOT pubviaroot
    ) AS others;
    IF dependents IS NOT NULL THEN
        RAISE dependent_objects_still_exist USING MESSAGE = format(
            'the tables of orders become partitions: drop %s, and create what you need of it again'
            ' after the upgrade', dependents);
    END IF;
    view_definitions := ARRAY(
        SELECT DISTINCT format('CREATE OR REPLACE VIEW %s %s AS %s', view.oid::regclass,
                               'WITH (' || array_to_string(view.reloptions, ', ') || ')',
                               pg_get_viewdef(view.oid))
        FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid
        JOIN pg_class AS view ON view.oid = ev_class
        WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass
          AND refobjid = ANY (tables));
    FOR old_name, key, constraint_name IN VALUES
        ('orders', 'id', 'id_precedes_months'),
        ('order_items', 'order_id', 'order_id_precedes_months'),
        ('order_status_log', 'order_id', 'order_id_precedes_months')
    LOOP
        EXECUTE format('ALTER TABLE %I RENAME TO %I', old_name, old_name || '_earlier');
        earlier := format('%I', old_name || '_earlier')::regclass;
        FOR index_name IN
            SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid
            WHERE indrelid = earlier AND starts_with(relname, old_name || '_')
        LOOP
            EXECUTE format('ALTER INDEX %I RENAME TO %I', index_name,
                           old_name || '_earlier' || substr(index_name, length(old_name) + 1));
        END LOOP;
        EXECUTE format('CREATE TABLE %I (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS'
                       ' INCLUDING GENERATED) PARTITION BY RANGE (%I)', old_name, earlier, key);
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', old_name, constraint_name);
        PERFORM copy_rights(earlier, format('%I', old_name)::regclass);
        IF old_name <> 'orders' THEN
            -- Renamed, so that the new table's sequence gets the name and the rights of this one.
            sequence_name := old_name || '_id_seq';
            EXECUTE format('ALTER SEQUENCE %I RENAME TO %I', sequence_name,
                           sequence_name || '_earlier');
            old_sequence := format('%I', sequence_name || '_earlier')::regclass;
            EXECUTE format('ALTER TABLE %I ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY',
                           old_name);
            EXECUTE format('SELECT setval(%L, last_value) FROM %s WHERE is_called',
                           sequence_name, old_sequence);
            PERFORM copy_rights(old_sequence, format('%I', sequence_name)::regclass);
        END IF;
        EXECUTE format('ALTER TABLE %s ALTER COLUMN id DROP IDENTITY', earlier);
    END LOOP;
    ALTER TABLE orders ADD PRIMARY KEY (id);  -- a view may group by it
    FOREACH view_definition IN ARRAY view_definitions LOOP
        EXECUTE view_definition;
    END LOOP;
END $$;
ALTER TABLE orders ALTER COLUMN id SET DEFAULT nextval('orders_id_seq');
ALTER SEQUENCE orders_id_seq OWNED BY orders.id;

-- The same as those that the tables had, which become partitions of these. An order number is
-- unique in its partition, and numbers of other months are different.
CREATE INDEX orders_by_business_date ON orders (business_date);
CREATE INDEX orders_by_status_and_type ON orders (status, type, id DESC);
CREATE INDEX orders_by_reference ON orders (lower(reference), id DESC)
    WHERE reference IS NOT NULL;
CREATE INDEX orders_by_channel ON orders (channel, status, type, id DESC)
    WHERE channel IS NOT NULL;
CREATE INDEX orders_by_external_id ON orders (external_id, id DESC) WHERE external_id IS NOT NULL;
CREATE INDEX orders_to_cook ON orders (type, rank_at, id) INCLUDE (released_at)
    WHERE status = 'received' AND released_at IS NOT NULL;
CREATE INDEX orders_scheduled ON orders (type, ready_at)
    WHERE status = 'received' AND released_at IS NULL;
CREATE INDEX orders_cooking ON orders (processed_by) WHERE status = 'cooking';
CREATE INDEX orders_handed_over ON orders (handed_over_at)
    WHERE status = 'ready' AND handed_over_at IS NOT NULL;
CREATE INDEX orders_to_erase ON orders (updated_at)
    WHERE erased_at IS NULL AND status IN ('ready', 'completed', 'cancelled');
CREATE INDEX order_status_log_by_time ON order_status_log USING brin (changed_at)
    WITH (autosummarize = on);

CREATE TRIGGER legal_move BEFORE UPDATE OF status ON orders FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION refuse_illegal_move();
CREATE TRIGGER legal_birth BEFORE INSERT ON orders FOR EACH ROW
    WHEN (NEW.status <> 'received') EXECUTE FUNCTION refuse_illegal_birth();
CREATE TRIGGER marks_are_of_ready_orders BEFORE UPDATE OF status ON orders FOR EACH ROW
    WHEN (OLD.status = 'ready' AND NEW.status NOT IN ('ready', 'completed'))
    EXECUTE FUNCTION remove_marks();
CREATE TRIGGER number_of_external_order_is_kept AFTER DELETE ON orders
    FOR EACH ROW EXECUTE FUNCTION keep_number_of_external_order();

ALTER TABLE orders ATTACH PARTITION orders_earlier
    FOR VALUES FROM (MINVALUE) TO (1000000000000);
ALTER TABLE order_items ATTACH PARTITION order_items_earlier
    FOR VALUES FROM (MINVALUE) TO (1000000000000);
ALTER TABLE order_status_log ATTACH PARTITION order_status_log_earlier
    FOR VALUES FROM (MINVALUE) TO (1000000000000);

-- Each refers to rows that exist, as the old constraints ensured: NOT VALID spares reading them.
ALTER TABLE station_tickets ADD FOREIGN KEY (order_id) REFERENCES orders (id) NOT VALID;
ALTER TABLE order_resends ADD FOREIGN KEY (order_id) REFERENCES orders (id) NOT VALID;

-- Create the partitions for the orders of a month, unless they exist. Items and log rows refer to
-- the orders of their own partition: a reference to all partitions would be checked in each.
-- With the rights of the owner, because the services need not own the tables.
CREATE FUNCTION create_order_month(in_month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    suffix text := to_char(in_month, '_YYYYMM');
    bounds text := format('FOR VALUES FROM (%s) TO (%s)', first_order_id(in_month),
                          first_order_id((date_trunc('month', in_month) + interval '1 month')::date));
    parent text;
    partition_name text;
    created regclass;
    index_name text;
BEGIN
    IF to_regclass('order_status_log' || suffix) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(7278110044);
    IF to_regclass('order_status_log' || suffix) IS NOT NULL THEN
        RETURN;
    END IF;
    FOREACH parent IN ARRAY ARRAY['orders', 'order_items', 'order_status_log'] LOOP
        partition_name := parent || suffix;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS'
                       ' INCLUDING GENERATED)', partition_name, parent);
        IF parent = 'orders' THEN
            -- Most rows change four times, on the day on which they are stored.
            EXECUTE format('ALTER TABLE %I ADD UNIQUE (number), SET ('
                           'autovacuum_vacuum_scale_factor = 0.02,'
                           'autovacuum_vacuum_threshold = 10000,'
                           'autovacuum_analyze_scale_factor = 0.02)', partition_name);
        ELSE
            EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (order_id, id),'
                           ' ADD FOREIGN KEY (order_id) REFERENCES %I (id)',
                           partition_name, 'orders' || suffix);
        END IF;
        PERFORM copy_rights(parent, partition_name);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I %s', parent, partition_name, bounds);
        FOR created, index_name IN
            SELECT inhrelid::regclass, partition_name || substr(relname, length(parent) + 1)
            FROM pg_index JOIN pg_inherits ON inhrelid = indexrelid
            JOIN pg_class ON pg_class.oid = inhparent
            WHERE indrelid = partition_name::regclass
        LOOP
            IF created::text <> index_name THEN
                EXECUTE format('ALTER INDEX %s RENAME TO %I', created, index_name);
            END IF;
        END LOOP;
    END LOOP;
END $$;

-- Delete the partitions of a month (such as 202612) or of `earlier`, with all their orders; return
-- whether they existed. Raises `object_in_use` while an order of theirs is received or cooking.
-- What refers to the orders is to be deleted before. Raises `lock_not_available` if the tables, which
-- are locked for a moment, could not be locked within seconds.
CREATE FUNCTION drop_order_month(in_month text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    parent text;
    is_open boolean;
BEGIN
    IF NOT has_table_privilege(session_user, 'orders', 'DELETE') THEN
        RAISE insufficient_privilege USING MESSAGE = 'permission denied for table orders';
    END IF;
    PERFORM lock_order_tables(10);
    IF in_month !~ '^([0-9]{6}|earlier)$' OR to_regclass('orders_' || in_month) IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format($query$SELECT EXISTS (SELECT FROM %1$I WHERE status = 'received')
                              OR EXISTS (SELECT FROM %1$I WHERE status = 'cooking')$query$,
                   'orders_' || in_month) INTO is_open;
    IF is_open THEN
        RAISE object_in_use USING MESSAGE = format('orders of %s are open', in_month);
    END IF;
    FOREACH parent IN ARRAY ARRAY['order_status_log', 'order_items', 'orders'] LOOP
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, parent || '_' || in_month);
        EXECUTE format('DROP TABLE %I', parent || '_' || in_month);
    END LOOP;
    RETURN true;
END $$;

-- They run with the rights of the owner of the tables, not of the role that has applied this
-- migration, and find no temporary table in place of one of these.
DO $$
DECLARE
    owner regrole;
    schema regnamespace;
    of_function regproc;
BEGIN
    SELECT relowner, relnamespace INTO owner, schema FROM pg_class WHERE oid = 'orders'::regclass;
    FOREACH of_function IN ARRAY ARRAY['create_order_month', 'drop_order_month'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO %s', of_function, owner);
        EXECUTE format('ALTER FUNCTION %s SET search_path = %s, pg_temp', of_function, schema);
    END LOOP;
END $$;

SELECT create_order_month(current_date);
