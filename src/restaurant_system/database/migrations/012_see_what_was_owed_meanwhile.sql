-- The last row of a stream before another. A move that had to wait for its order sees only here what
-- was committed meanwhile: each statement of a volatile function looks anew. Rows of the move's own
-- statement are seen as well, and those before it count.

CREATE FUNCTION owed_before(about text, beginning bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN (SELECT max(id) FROM outbox WHERE stream = about AND id < beginning);
END
$$;
