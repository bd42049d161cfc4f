-- Return the id of the row of a stream before another one; `owed_before` under a name that says so.
-- The old function is kept for processes of the previous release that still run.

CREATE FUNCTION previous_outbox_id(of_stream text, before_id bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN (SELECT max(id) FROM outbox WHERE stream = of_stream AND id < before_id);
END
$$;
