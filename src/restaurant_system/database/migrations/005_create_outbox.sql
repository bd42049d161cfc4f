-- Messages that a transaction owes the broker. A row is written in the transaction that causes it,
-- and deleted once the broker has confirmed it.

CREATE TABLE outbox (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Messages of one stream leave in the order of their ids: an order's updates, for example.
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
    -- Until when to leave alone a message that the broker refused.
    not_before     timestamptz NOT NULL DEFAULT '-infinity'
);

CREATE INDEX outbox_by_stream ON outbox (stream, id);
