-- +goose Up
-- What telling people writes by itself, too often for documents with a diff.
-- Times are nanoseconds since 1970; 0 is never.

-- The ledger: one row for each message to one destination or person.
CREATE TABLE deliveries (
    id BIGINT PRIMARY KEY,
    idempotency TEXT NOT NULL UNIQUE, -- the same at every attempt
    rule BIGINT NOT NULL, -- 0: somebody's test
    transport BIGINT NOT NULL,
    recipient BIGINT NOT NULL, -- a user; 0 where the transport has a destination of its own
    thread TEXT NOT NULL, -- what is sent in its order: rule and group
    seq BIGINT NOT NULL, -- the event; 0 where nothing happened, which is what is told
    doc TEXT NOT NULL, -- JSON of what the event alone does not say
    state TEXT NOT NULL, -- queued, retrying, delivered, dead, suppressed
    reason TEXT NOT NULL, -- why suppressed or dead
    count BIGINT NOT NULL, -- tellings that this row stands for
    attempts BIGINT NOT NULL,
    due BIGINT NOT NULL,
    created BIGINT NOT NULL,
    finished BIGINT NOT NULL
);
CREATE INDEX deliveries_due ON deliveries (transport, due, id) WHERE state IN ('queued', 'retrying');
CREATE INDEX deliveries_rule ON deliveries (rule, id);
CREATE INDEX deliveries_state ON deliveries (state, id);
CREATE INDEX deliveries_event ON deliveries (seq, transport, recipient);

CREATE TABLE attempts (
    delivery BIGINT NOT NULL,
    number BIGINT NOT NULL,
    time BIGINT NOT NULL,
    status BIGINT NOT NULL,
    latency BIGINT NOT NULL, -- nanoseconds
    answer TEXT NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (delivery, number)
);

-- What a rule remembers of one group of events: counts, what waits, who knows.
CREATE TABLE cells (
    rule BIGINT NOT NULL,
    grp TEXT NOT NULL,
    doc TEXT NOT NULL,
    due BIGINT NOT NULL, -- when it must be looked at; 0: only when something happens
    PRIMARY KEY (rule, grp)
);
CREATE INDEX cells_due ON cells (due) WHERE due > 0;

-- How much has been told of one chain of causes.
CREATE TABLE chains (
    id TEXT PRIMARY KEY,
    told BIGINT NOT NULL,
    begun BIGINT NOT NULL
);

-- What is told in the pages.
CREATE TABLE inbox (
    id BIGINT PRIMARY KEY,
    user_id BIGINT NOT NULL,
    delivery BIGINT NOT NULL,
    rule BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    severity BIGINT NOT NULL,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    created BIGINT NOT NULL,
    seen BIGINT NOT NULL
);
CREATE INDEX inbox_of ON inbox (user_id, id);
CREATE INDEX inbox_unseen ON inbox (user_id) WHERE seen = 0;

-- +goose Down
DROP TABLE inbox;
DROP TABLE chains;
DROP TABLE cells;
DROP TABLE attempts;
DROP TABLE deliveries;
