-- The index by which messages are claimed also counts the waiting messages, without reading the
-- table.

DROP INDEX broker_messages_waiting;
CREATE INDEX broker_messages_waiting ON broker_messages (queue, priority DESC, id)
    INCLUDE (available_at) WHERE consumer IS NULL;
