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
