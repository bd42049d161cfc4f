-- The index that messages are claimed by also answers how many wait, whatever their number, without
-- a look at the rows.

DROP INDEX broker_messages_waiting;
CREATE INDEX broker_messages_waiting ON broker_messages (queue, priority DESC, id)
    INCLUDE (available_at) WHERE consumer IS NULL;
