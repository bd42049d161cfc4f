-- How many orders a worker cooks at a time. Completion times of waiting orders are estimated from it.
-- A worker of an earlier release registers without it.
ALTER TABLE workers ADD COLUMN capacity integer NOT NULL DEFAULT 1 CHECK (capacity >= 1);
