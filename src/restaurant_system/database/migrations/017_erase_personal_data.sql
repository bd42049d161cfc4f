-- When the personal data of an order was erased. The figures, times and types of the order stay.
ALTER TABLE orders ADD COLUMN erased_at timestamptz;

-- For the orders to be erased, oldest first. An order enters it when it is ready and leaves it when
-- it is erased, so that it holds no more than the orders of the retention period.
CREATE INDEX orders_to_erase ON orders (updated_at)
    WHERE erased_at IS NULL AND status IN ('ready', 'completed', 'cancelled');
