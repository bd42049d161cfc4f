-- The broker in PostgreSQL, which is used if no RabbitMQ is configured.
-- Exchanges, queues and bindings are defined in messaging/topology.py.

-- The queues of subscribers, which are created and removed at run time.
CREATE TABLE broker_subscriptions (
    queue    text   PRIMARY KEY,
    exchange text   NOT NULL,
    -- The queue is removed together with this consumer; null for a durable queue.
    owner    integer
);

CREATE INDEX broker_subscriptions_by_exchange ON broker_subscriptions (exchange);

CREATE TABLE broker_messages (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue          text        NOT NULL,
    priority       smallint    NOT NULL,
    available_at   timestamptz NOT NULL DEFAULT now(),
    -- The consumer that has the message unacknowledged. It holds an advisory lock on its number.
    consumer       integer,
    redelivered    boolean     NOT NULL DEFAULT false,
    exchange       text        NOT NULL,
    routing_key    text        NOT NULL,
    type           text        NOT NULL,
    body           bytea       NOT NULL,
    message_id     uuid        NOT NULL,
    correlation_id text        NOT NULL,
    app_id         text        NOT NULL,
    timestamp      timestamptz NOT NULL,
    content_type   text        NOT NULL,
    headers        jsonb       NOT NULL
);

CREATE INDEX broker_messages_waiting ON broker_messages (queue, priority DESC, id)
    WHERE consumer IS NULL;
CREATE INDEX broker_messages_in_hand ON broker_messages (consumer) WHERE consumer IS NOT NULL;

CREATE SEQUENCE broker_consumers AS integer CYCLE;
