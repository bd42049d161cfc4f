-- What an order costs must not depend on how many there were before.

-- One index serves every list, whatever it is narrowed to. Each index on `orders` is paid for three
-- times an order, for a move changes the status, and a new status means a new entry in all of them.
CREATE INDEX orders_by_status_and_type ON orders (status, type, id DESC);
DROP INDEX orders_by_status;
DROP INDEX orders_by_type;

-- The moves of the last hour, after a broker has lost its disk. The log is only ever added to, in
-- order of time, so that a summary of each stretch of it is enough, and costs next to nothing.
CREATE INDEX order_status_log_by_time ON order_status_log USING brin (changed_at)
    WITH (autosummarize = on);

-- Tables that rows only pass through, thousands a second. Ids only grow, so that the dead lie where
-- the index begins, which is where the oldest is looked for: they are cleared away by their number,
-- whatever the table's size, and without the rests that spare a server's disk, for it is done in
-- milliseconds.
-- The statistics are renewed as soon: a plan made while a queue was empty is none for a full one.
-- The emptied end of a table is kept. It is filled again a moment later, and to cut it off takes a
-- lock that everybody waits for. (After a long outage, VACUUM (TRUNCATE) gives it back.)
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

-- A day's keys: those of one cleaning are gone before the next one. Not by number alone, for each
-- time all of two indexes is read.
ALTER TABLE idempotency_keys SET (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.02
);

-- Each move leaves a dead row behind, in a table of years of which only today is alive. A fifth of
-- it, the server's own measure, would be months of dead entries among those who wait and cook.
ALTER TABLE orders SET (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.02
);

-- One row that is written over again and again: with room beside it the new one stays on its page,
-- where whoever reads it next clears the old ones away, and no index learns of it.
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
