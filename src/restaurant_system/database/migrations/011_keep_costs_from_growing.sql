-- Keep the cost of an order independent of the number of earlier orders.

-- One index serves the lists with every filter. Each index on `orders` costs three entries per
-- order, because every status change adds a new entry to all of them.
CREATE INDEX orders_by_status_and_type ON orders (status, type, id DESC);
DROP INDEX orders_by_status;
DROP INDEX orders_by_type;

-- For the status changes of the last hour, after a broker has lost its disk. The log is append-only
-- and sorted by time, so that a BRIN index is sufficient, which costs very little.
CREATE INDEX order_status_log_by_time ON order_status_log USING brin (changed_at)
    WITH (autosummarize = on);

-- Tables that thousands of rows per second pass through. Ids grow, so that dead rows gather at the
-- beginning of the index, where the oldest row is searched: they are vacuumed after a fixed number,
-- whatever the size of the table, and without cost delays, because it takes milliseconds.
-- Statistics are updated as often: a plan made while a queue was empty does not suit a full one.
-- The empty end of a table is kept. It is filled again soon, and truncating it takes a lock that
-- every statement waits for. (After a long outage, VACUUM (TRUNCATE) returns the space.)
ALTER TABLE outbox SET (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off
);
ALTER TABLE broker_messages SET (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off
);

-- The keys of a day: vacuumed once between two cleanups. Not after a fixed number alone, because
-- every vacuum reads two whole indexes.
ALTER TABLE idempotency_keys SET (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.02
);

-- Each move leaves a dead row, in a table of years in which only today's rows change. The server's
-- default, a fifth of the table, would be months of dead entries in the indexes of waiting and
-- cooking orders.
ALTER TABLE orders SET (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.02
);

-- One row that is updated again and again: with free space on its page the new version stays there
-- (HOT), old versions are pruned when the page is read, and no index changes.
ALTER TABLE order_counters SET (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000
);
ALTER TABLE workers SET (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000
);
