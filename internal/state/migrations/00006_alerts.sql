-- +goose Up
-- Alerts that were sent to /api/v2/alerts: those that fire, and for a day those
-- that did.
CREATE TABLE alerts (
    fingerprint TEXT PRIMARY KEY, -- of the labels
    firing BIGINT NOT NULL, -- 1 while it fires
    starts BIGINT NOT NULL, -- nanoseconds since 1970, as below
    ends BIGINT NOT NULL, -- when it was over, or will be if it is not sent again
    assumed BIGINT NOT NULL, -- 1 where the sender has not said when it ends
    updated BIGINT NOT NULL,
    doc TEXT NOT NULL -- labels, annotations and generatorURL
);
CREATE INDEX alerts_by_end ON alerts (firing, ends);

-- +goose Down
DROP TABLE alerts;
