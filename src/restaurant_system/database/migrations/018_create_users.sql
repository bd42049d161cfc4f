-- People who sign in, programs with an API key, and what protects both. No password, key or token
-- is stored: of passwords there is an argon2id hash, of random tokens the SHA-256.

CREATE TABLE users (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at    timestamptz NOT NULL DEFAULT now(),
    name          text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    -- The name without differences of case and of Unicode form, by which a person signs in.
    folded_name   text        NOT NULL UNIQUE,
    role          text        NOT NULL CHECK (role IN ('kitchen', 'staff', 'manager')),
    password_hash text        NOT NULL,
    disabled_at   timestamptz
);

-- A session ends when its row is deleted, when it expires, or when its user is disabled.
CREATE TABLE sessions (
    token_hash bytea       PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    user_id    bigint      NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE api_keys (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at  timestamptz NOT NULL DEFAULT now(),
    name        text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    folded_name text        NOT NULL UNIQUE,
    key_hash    bytea       NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    scopes      text[]      NOT NULL CHECK (cardinality(scopes) > 0),
    disabled_at timestamptz
);

-- Wrong passwords, by account ('account/NAME') and by client ('address/ADDRESS').
CREATE TABLE sign_in_attempts (
    subject         text        PRIMARY KEY,
    failures        integer     NOT NULL CHECK (failures >= 0),
    next_try_at     timestamptz NOT NULL,
    last_failure_at timestamptz NOT NULL
);

CREATE INDEX sign_in_attempts_by_time ON sign_in_attempts (last_failure_at);
