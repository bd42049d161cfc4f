-- What people have done: an entry is written in the transaction of the act, and is never changed.

CREATE TABLE audit_log (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    -- The name of a user, or of a user of the machine on which a command ran; null if unknown.
    who        text,
    role       text,
    action     text        NOT NULL CHECK (action ~ '^[a-z_]+$'),
    -- What it was done to: an order's number, the name of a user or of an API key.
    target     text,
    client     text,
    request_id text,
    details    jsonb       NOT NULL DEFAULT '{}'
);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'entries of audit_log are never changed' USING ERRCODE = 'check_violation';
END $$;

CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
