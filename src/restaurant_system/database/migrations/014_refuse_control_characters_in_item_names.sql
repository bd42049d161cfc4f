-- A name that a customer wrote is read in the kitchen: the second half of the control characters,
-- line separators and bidirectional controls turn it round, hide it, or steer a terminal.
-- Not validated: items of orders that were accepted before stay as they are.
ALTER TABLE order_items ADD CONSTRAINT name_is_printable
    CHECK (name !~ '[\x80-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]') NOT VALID;
