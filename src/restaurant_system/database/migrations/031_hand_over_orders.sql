-- What people note about an order that is ready: it was handed over, or its customer did not come.
ALTER TABLE orders
    -- It is completed some seconds later; until then, this can be undone.
    ADD COLUMN handed_over_at timestamptz,
    ADD COLUMN handed_over_by text,
    ADD COLUMN uncollected_at timestamptz,
    -- The mark at the last time that the order went back to the kitchen, in case that is undone.
    ADD COLUMN uncollected_before timestamptz;

-- An order that goes back to the kitchen, or is cancelled, loses its marks. A trigger does so for
-- processes of the previous release, too: the next time that the order is ready, a mark that was
-- left would complete it.
CREATE FUNCTION remove_marks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.handed_over_at := NULL;
    NEW.handed_over_by := NULL;
    NEW.uncollected_at := NULL;
    NEW.uncollected_before := OLD.uncollected_at;
    RETURN NEW;
END $$;

CREATE TRIGGER marks_are_of_ready_orders BEFORE UPDATE OF status ON orders FOR EACH ROW
    WHEN (OLD.status = 'ready' AND NEW.status NOT IN ('ready', 'completed'))
    EXECUTE FUNCTION remove_marks();

ALTER TABLE orders ADD CONSTRAINT only_ready_orders_are_marked CHECK (
    (handed_over_at IS NULL) = (handed_over_by IS NULL)
    AND (num_nonnulls(handed_over_at, uncollected_at) = 0 OR status IN ('ready', 'completed')));

-- The orders that are to be completed: few, and for seconds only.
CREATE INDEX orders_handed_over ON orders (handed_over_at)
    WHERE status = 'ready' AND handed_over_at IS NOT NULL;
