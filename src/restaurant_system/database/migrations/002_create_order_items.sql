CREATE TABLE order_items (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz  NOT NULL DEFAULT now(),
    order_id   bigint       NOT NULL REFERENCES orders (id),
    name       text         NOT NULL CHECK (char_length(name) BETWEEN 1 AND 50)
        CHECK (name !~ '[\x01-\x1f\x7f]'),
    quantity   integer      NOT NULL CHECK (quantity BETWEEN 1 AND 10),
    price      numeric(8,2) NOT NULL CHECK (price BETWEEN 0.01 AND 999.99),
    notes      text         CHECK (char_length(notes) <= 200)
);

CREATE INDEX order_items_by_order ON order_items (order_id);
