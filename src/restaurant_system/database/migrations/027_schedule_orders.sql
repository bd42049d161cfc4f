-- An order with `ready_at` has no message and no `released_at` until its expected preparation time is
-- left. The query that releases orders reads those that are due from this index, and no others.
CREATE INDEX orders_scheduled ON orders (type, ready_at)
    WHERE status = 'received' AND released_at IS NULL;
