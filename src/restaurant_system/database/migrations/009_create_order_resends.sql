-- Stuck orders whose message was published again. The delay before the next time doubles, so that
-- an order that is stuck for another reason does not fill the queues.

CREATE TABLE order_resends (
    order_id  bigint      PRIMARY KEY REFERENCES orders (id),
    resent_at timestamptz NOT NULL,
    resends   integer     NOT NULL DEFAULT 1 CHECK (resends > 0)
);
