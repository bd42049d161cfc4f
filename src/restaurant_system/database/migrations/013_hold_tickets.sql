-- The tickets on the screen of a kitchen display station. The message of a ticket stays
-- unacknowledged at the station, as with every worker; what the message does not contain is stored
-- here.

CREATE TABLE station_tickets (
    order_id  bigint      PRIMARY KEY REFERENCES orders (id),
    station   text        NOT NULL CHECK (char_length(station) BETWEEN 1 AND 100),
    -- When it was rushed: it is to be cooked before all others.
    rushed_at timestamptz,
    -- When it was bumped; recent ones can be recalled.
    bumped_at timestamptz
);

CREATE INDEX station_tickets_by_station ON station_tickets (station, bumped_at DESC);

-- A person may recall an order that is ready. The application has the legal moves as ORIGINS in
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
