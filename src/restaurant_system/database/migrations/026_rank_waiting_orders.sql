-- What is cooked next: of the released orders, the one with the lowest rank.

ALTER TABLE orders
    -- When the order is to be ready.
    ADD COLUMN promised_at timestamptz,
    -- promised_at, moved forward by a bounded time for its priority; -infinity if it is rushed.
    ADD COLUMN rank_at     timestamptz,
    -- When it was released to the kitchen; null while it is scheduled.
    ADD COLUMN released_at timestamptz,
    -- The request that placed it, and its trace, which its cook continues.
    ADD COLUMN IF NOT EXISTS request_id    text,
    ADD COLUMN IF NOT EXISTS trace_context jsonb;

-- Orders of processes of the previous release, which still run, do not have these columns.
ALTER TABLE orders
    ALTER COLUMN promised_at SET DEFAULT now() + interval '15 minutes',
    ALTER COLUMN rank_at     SET DEFAULT now() + interval '15 minutes',
    ALTER COLUMN released_at SET DEFAULT now();

-- With the defaults of kitchen.late_seconds and kitchen.priority_seconds.
UPDATE orders
SET released_at = created_at,
    promised_at = created_at + CASE type WHEN 'delivery' THEN interval '20 minutes'
                                         ELSE interval '15 minutes' END,
    rank_at     = created_at + CASE type WHEN 'delivery' THEN interval '20 minutes'
                                         ELSE interval '15 minutes' END
                             - CASE WHEN priority >= 10 THEN interval '10 minutes'
                                    WHEN priority >= 5 THEN interval '5 minutes'
                                    ELSE interval '0' END
WHERE status IN ('received', 'cooking');

UPDATE orders SET rank_at = '-infinity'
FROM station_tickets WHERE order_id = orders.id AND rushed_at IS NOT NULL AND rank_at IS NOT NULL;

ALTER TABLE orders ADD CONSTRAINT released_order_has_rank
    CHECK (released_at IS NULL OR rank_at IS NOT NULL);

-- Read in the order in which orders are cooked; orders of earlier business dates are passed over
-- without reading the table.
CREATE INDEX orders_to_cook ON orders (type, rank_at, id) INCLUDE (released_at)
    WHERE status = 'received' AND released_at IS NOT NULL;
DROP INDEX orders_waiting;
