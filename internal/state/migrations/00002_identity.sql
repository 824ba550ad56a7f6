-- +goose Up
-- What people never change themselves, and what is written too often for a
-- document with an audit diff. Times are nanoseconds since 1970.

-- Who is signed in. A sign-in token (JWT) names its row; without it, it opens
-- nothing.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    user_id BIGINT NOT NULL,
    actor TEXT NOT NULL, -- JSON of who acts as the user; empty for the user
    method TEXT NOT NULL,
    current_jti TEXT NOT NULL,
    previous_jti TEXT NOT NULL,
    previous_until BIGINT NOT NULL,
    created BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    client_ip TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    bound TEXT NOT NULL -- JSON of what the session is bound to
);
CREATE INDEX sessions_of ON sessions (user_id);
CREATE INDEX sessions_end ON sessions (expires);

-- Links that work once: password resets and verifications of addresses.
CREATE TABLE links (
    hash TEXT PRIMARY KEY,
    purpose TEXT NOT NULL,
    user_id BIGINT NOT NULL,
    value TEXT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX links_of ON links (user_id, purpose);

-- Seeds of one-time passwords (RFC 6238), sealed; last_step keeps a code from
-- being used twice.
CREATE TABLE second_factors (
    user_id BIGINT PRIMARY KEY,
    seed TEXT NOT NULL,
    confirmed BIGINT NOT NULL,
    last_step BIGINT NOT NULL
);
CREATE TABLE recovery_codes (
    user_id BIGINT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (user_id, hash)
);

-- Signatures of requests that were seen, until they are too old to be taken.
CREATE TABLE signatures (
    hash TEXT PRIMARY KEY,
    expires BIGINT NOT NULL
);

-- Hashes of tokens that were revoked, to tell their use from a typing error.
CREATE TABLE revoked_tokens (
    hash TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    expires BIGINT NOT NULL
);

-- Mails that are to be sent. Bodies are sealed: they hold links that work once.
CREATE TABLE mails (
    id TEXT PRIMARY KEY,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    record TEXT NOT NULL, -- the body as it is recorded, with links masked
    cause TEXT NOT NULL,
    tries BIGINT NOT NULL,
    due BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX mails_due ON mails (due);

-- +goose Down
DROP TABLE mails;
DROP TABLE revoked_tokens;
DROP TABLE signatures;
DROP TABLE recovery_codes;
DROP TABLE second_factors;
DROP TABLE links;
DROP TABLE sessions;
