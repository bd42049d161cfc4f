-- Return the row of a stream before another one. A move that waited for the lock of its order sees
-- rows that were committed meanwhile only through this function, because each statement of a
-- volatile function takes a new snapshot. Earlier rows of the move's own statement are seen too.

CREATE FUNCTION owed_before(about text, beginning bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN (SELECT max(id) FROM outbox WHERE stream = about AND id < beginning);
END
$$;
