-- What a station of the kitchen display has on its screen. A ticket's message stays in the station's
-- hand, as with any worker; what the message does not say is kept here, and outlives the process.

CREATE TABLE station_tickets (
    order_id  bigint      PRIMARY KEY REFERENCES orders (id),
    station   text        NOT NULL CHECK (char_length(station) BETWEEN 1 AND 100),
    -- Since when it is to be cooked before all others.
    rushed_at timestamptz,
    -- Since when it is done; the last of these can be recalled.
    bumped_at timestamptz
);

CREATE INDEX station_tickets_by_station ON station_tickets (station, bumped_at DESC);

-- A person may take back what was called ready. The application's table is ORIGINS in
-- models/status.py.
CREATE OR REPLACE FUNCTION refuse_illegal_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.status, NEW.status) NOT IN (
        ('received', 'cooking'),
        ('cooking', 'ready'),
        ('ready', 'cooking'),
        ('ready', 'completed'),
        ('received', 'cancelled'),
        ('cooking', 'cancelled')
    ) THEN
        RAISE EXCEPTION 'order % cannot go from % to %', OLD.number, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'legal_move';
    END IF;
    RETURN NEW;
END $$;
