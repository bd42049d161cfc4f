-- A start at a station can be undone for a moment. Until then the order is still received.
ALTER TABLE station_tickets
    -- When people started the order here, while the move to cooking is not written yet.
    ADD COLUMN started_at timestamptz;

CREATE INDEX station_tickets_started ON station_tickets (started_at) WHERE started_at IS NOT NULL;
