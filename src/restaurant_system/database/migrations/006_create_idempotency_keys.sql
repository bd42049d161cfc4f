-- The response to each Idempotency-Key, so that a repeated request gets the same response.

CREATE TABLE idempotency_keys (
    key          text          PRIMARY KEY CHECK (char_length(key) BETWEEN 1 AND 255),
    created_at   timestamptz   NOT NULL DEFAULT now(),
    -- SHA-256 of the validated order.
    fingerprint  bytea         NOT NULL CHECK (octet_length(fingerprint) = 32),
    -- The response; null only inside the transaction that stores the key.
    order_number text,
    total_amount numeric(10,2)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
