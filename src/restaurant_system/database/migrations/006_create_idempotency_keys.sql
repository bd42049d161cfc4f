-- What was answered to an Idempotency-Key, so that the same request gets the same answer again.

CREATE TABLE idempotency_keys (
    key          text          PRIMARY KEY CHECK (char_length(key) BETWEEN 1 AND 255),
    created_at   timestamptz   NOT NULL DEFAULT now(),
    -- SHA-256 of the order as it was understood.
    fingerprint  bytea         NOT NULL CHECK (octet_length(fingerprint) = 32),
    -- The answer; empty only inside the transaction that takes the key.
    order_number text,
    total_amount numeric(10,2)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
