-- Devices that several people use. On them, and nowhere else, people sign in with a PIN.

CREATE TABLE devices (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    enrolled_at  timestamptz NOT NULL,
    name         text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    folded_name  text        NOT NULL UNIQUE,
    -- The SHA-256 of a random token, which the browser of the device keeps.
    token_hash   bytea       NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    last_used_at timestamptz
);

-- An argon2id hash. Wrong PINs are counted until a right PIN, a right password or a new PIN.
ALTER TABLE users
    ADD COLUMN pin_hash     text,
    ADD COLUMN pin_failures integer NOT NULL DEFAULT 0 CHECK (pin_failures >= 0);

-- The device of a session that was opened with a PIN: it ends when the device is removed.
ALTER TABLE sessions ADD COLUMN device_id bigint REFERENCES devices (id) ON DELETE CASCADE;

CREATE INDEX sessions_by_device ON sessions (device_id);
