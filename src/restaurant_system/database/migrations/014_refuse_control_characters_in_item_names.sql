-- Refuse C1 control characters, line separators and bidirectional controls in the names of items:
-- they reorder or hide text on the screens, or control a terminal. Not validated, so that items of
-- earlier orders stay as they are.
ALTER TABLE order_items ADD CONSTRAINT name_is_printable
    CHECK (name !~ '[\x80-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]') NOT VALID;
