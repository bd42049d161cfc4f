-- Entries contain names of the staff, and addresses of everybody who tried to sign in, so they are not
-- kept for ever. Younger ones cannot be deleted, nor can any be changed.
CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.at < now() - interval '30 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'entries of audit_log are never changed' USING ERRCODE = 'check_violation';
END $$;
