-- Orders that stood still and were sent to the kitchen again. The pause before the next time grows
-- with each, so that an order whose standstill has another cause does not fill the queues.

CREATE TABLE order_resends (
    order_id  bigint      PRIMARY KEY REFERENCES orders (id),
    resent_at timestamptz NOT NULL,
    resends   integer     NOT NULL DEFAULT 1 CHECK (resends > 0)
);
