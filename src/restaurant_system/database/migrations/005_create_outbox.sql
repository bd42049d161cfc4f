-- The outbox: messages that are stored in the transaction that causes them, and deleted once the
-- broker has confirmed them.

CREATE TABLE outbox (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Messages of one stream, such as the updates of an order, are published in the order of their
    -- ids.
    stream         text        NOT NULL,
    exchange       text        NOT NULL,
    routing_key    text        NOT NULL,
    type           text        NOT NULL,
    body           bytea       NOT NULL,
    message_id     uuid        NOT NULL,
    correlation_id text        NOT NULL,
    app_id         text        NOT NULL,
    timestamp      timestamptz NOT NULL,
    priority       smallint    NOT NULL,
    -- The time before which a message that the broker refused is not published again.
    not_before     timestamptz NOT NULL DEFAULT '-infinity'
);

CREATE INDEX outbox_by_stream ON outbox (stream, id);
