-- +goose Up
-- Remote hosts that report here.
CREATE TABLE agents (
    id TEXT PRIMARY KEY, -- made by the agent
    token TEXT NOT NULL, -- id of the account or token with which it joined: nobody else speaks for it
    silent BIGINT NOT NULL, -- 1 while it does not report
    first_seen BIGINT NOT NULL, -- nanoseconds since 1970
    last_seen BIGINT NOT NULL,
    doc TEXT NOT NULL -- its last report
);

-- +goose Down
DROP TABLE agents;
