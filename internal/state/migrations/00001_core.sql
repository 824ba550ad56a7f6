-- +goose Up
-- The same statements run on SQLite and PostgreSQL: TEXT, BIGINT and nothing
-- else; times are nanoseconds since 1970; ids come from the table counters.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

-- Every configured thing (user, token, rule, …) is one document of its model.
CREATE TABLE objects (
    model TEXT NOT NULL,
    id BIGINT NOT NULL,
    version BIGINT NOT NULL,
    name TEXT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (model, id)
);

-- What an object can be found by. A unique key has its value once per model.
CREATE TABLE object_keys (
    model TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    id BIGINT NOT NULL,
    PRIMARY KEY (model, name, value)
);
CREATE INDEX object_keys_of ON object_keys (model, id);

-- Events of changes that are committed and not yet in the journal.
CREATE TABLE outbox (
    seq BIGINT PRIMARY KEY,
    event TEXT NOT NULL
);

-- How far each follower of the journal has come.
CREATE TABLE cursors (
    name TEXT PRIMARY KEY,
    seq BIGINT NOT NULL
);

-- Who does a piece of background work, and until when.
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    expires BIGINT NOT NULL
);

-- Small facts of the server itself that are not configuration.
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- +goose Down
DROP TABLE facts;
DROP TABLE leases;
DROP TABLE cursors;
DROP TABLE outbox;
DROP TABLE object_keys;
DROP TABLE objects;
DROP TABLE counters;
