-- Headers of a message that it has before it is published: its trace context. Null means none.

ALTER TABLE outbox ADD COLUMN headers jsonb;
