CREATE TABLE order_status_log (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    order_id   bigint      NOT NULL REFERENCES orders (id),
    status     text        NOT NULL
        CHECK (status IN ('received', 'cooking', 'ready', 'completed', 'cancelled')),
    changed_by text        NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    notes      text
);

CREATE INDEX order_status_log_by_order ON order_status_log (order_id);
