-- The broker that lives in PostgreSQL: used where no RabbitMQ is configured, empty elsewhere.
-- Exchanges, queues and bindings that are the same for everyone stand in messaging/topology.py.

-- Subscribers' queues, which come and go.
CREATE TABLE broker_subscriptions (
    queue    text   PRIMARY KEY,
    exchange text   NOT NULL,
    -- The consumer whose end removes the queue; null for a durable one.
    owner    integer
);

CREATE INDEX broker_subscriptions_by_exchange ON broker_subscriptions (exchange);

CREATE TABLE broker_messages (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue          text        NOT NULL,
    priority       smallint    NOT NULL,
    available_at   timestamptz NOT NULL DEFAULT now(),
    -- Who has it in hand. A consumer holds an advisory lock on its number for as long as it lives.
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
