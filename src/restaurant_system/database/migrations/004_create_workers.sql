CREATE TABLE workers (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at         timestamptz NOT NULL DEFAULT now(),
    name               text        NOT NULL UNIQUE CHECK (char_length(name) BETWEEN 1 AND 100),
    -- The order types that the worker cooks, comma-separated.
    type               text        NOT NULL,
    status             text        NOT NULL DEFAULT 'online' CHECK (status IN ('online', 'offline')),
    last_seen          timestamptz NOT NULL DEFAULT now(),
    orders_processed   integer     NOT NULL DEFAULT 0 CHECK (orders_processed >= 0),
    -- The interval of its heartbeats; after two without one, the worker counts as offline.
    heartbeat_interval interval    NOT NULL,
    -- The process that has the name: one that was replaced notices at its next heartbeat.
    session            uuid        NOT NULL
);
