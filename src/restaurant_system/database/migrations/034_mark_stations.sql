-- Which workers are stations, operated by people: the kitchen display offers their names again, and not
-- those of simulated cooks. A worker of an earlier release registers without it.
ALTER TABLE workers ADD COLUMN is_station boolean NOT NULL DEFAULT false;
UPDATE workers SET is_station = true WHERE name IN (SELECT station FROM station_tickets);

CREATE INDEX stations_by_last_seen ON workers (is_station, last_seen);
