-- Find the workers whose lease runs without reading those that are gone, however many there are.

-- A silent worker counts as offline after two of its heartbeat intervals; the application's constant
-- is MISSED_HEARTBEATS in models/worker.py. Computed in UTC, because only then the expression is
-- immutable, as a generated column must be.
ALTER TABLE workers ADD COLUMN lease_until timestamptz NOT NULL GENERATED ALWAYS AS (
    ((last_seen AT TIME ZONE 'UTC') + 2 * heartbeat_interval) AT TIME ZONE 'UTC'
) STORED;

CREATE INDEX workers_by_lease ON workers (lease_until) WHERE status = 'online';

-- For the list of workers, and for the removal of those not heard from for long.
CREATE INDEX workers_by_last_seen ON workers (last_seen);
