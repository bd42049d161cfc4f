-- Find the workers with a valid lease without reading the offline ones, however many there are.

-- A worker counts as offline after two heartbeat intervals without a heartbeat; the application's
-- constant is MISSED_HEARTBEATS in models/worker.py. Computed in UTC, because only then is the
-- expression immutable, as a generated column must be.
ALTER TABLE workers ADD COLUMN lease_until timestamptz NOT NULL GENERATED ALWAYS AS (
    ((last_seen AT TIME ZONE 'UTC') + 2 * heartbeat_interval) AT TIME ZONE 'UTC'
) STORED;

CREATE INDEX workers_by_lease ON workers (lease_until) WHERE status = 'online';

-- For the list of workers, and for deleting those without a heartbeat for long.
CREATE INDEX workers_by_last_seen ON workers (last_seen);
