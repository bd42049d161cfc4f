-- What people note on a ticket: the items that are done, and that it was rushed, which can be undone.
ALTER TABLE station_tickets
    -- The positions of the items that are crossed off, from 0.
    ADD COLUMN crossed_off smallint[] NOT NULL DEFAULT '{}',
    -- The rank that the order had before it was rushed here.
    ADD COLUMN rank_before_rush timestamptz;
