-- +goose Up
-- Every version of a flow that a run may be pinned to.
CREATE TABLE flow_versions (
    hash TEXT PRIMARY KEY, -- SHA-256 of the document, in hexadecimal
    document TEXT NOT NULL,
    created BIGINT NOT NULL -- nanoseconds since 1970, as all times below
);

-- Runs of flows.
CREATE TABLE runs (
    id TEXT PRIMARY KEY, -- made from trigger and event, or trigger and slot
    state TEXT NOT NULL, -- queued, running, waiting, completed, faulted or cancelled
    flow BIGINT NOT NULL,
    trigger_id BIGINT NOT NULL, -- 0 for a run that somebody or another flow has started
    priority BIGINT NOT NULL,
    queued BIGINT NOT NULL,
    due BIGINT NOT NULL, -- when it is to be looked at: at once where it is queued; 0 where only an answer helps
    recoveries BIGINT NOT NULL, -- how often it was under way when the server ended
    finished BIGINT NOT NULL, -- 0 while it is not over
    doc TEXT NOT NULL -- all else
);
CREATE INDEX runs_by_due ON runs (state, due);
CREATE INDEX runs_by_flow ON runs (flow, queued);
CREATE INDEX runs_by_trigger ON runs (trigger_id, queued);
CREATE INDEX runs_by_time ON runs (queued);
CREATE INDEX runs_over ON runs (finished) WHERE finished > 0;

-- What came of the effects of runs that are not over.
CREATE TABLE run_answers (
    run TEXT NOT NULL,
    effect TEXT NOT NULL, -- its key in the run
    doc TEXT NOT NULL,
    PRIMARY KEY (run, effect)
);

-- The events for which runs wait.
CREATE TABLE run_listens (
    run TEXT NOT NULL,
    effect TEXT NOT NULL,
    since BIGINT NOT NULL, -- sequence of the event behind which it listens
    doc TEXT NOT NULL,
    PRIMARY KEY (run, effect)
);

-- When a schedule runs next.
CREATE TABLE flow_schedules (
    trigger_id BIGINT PRIMARY KEY,
    next BIGINT NOT NULL, -- the next slot; 0 for never
    doc TEXT NOT NULL -- what the slots were computed from
);

-- What triggers remember of the events that they throttle.
CREATE TABLE trigger_cells (
    trigger_id BIGINT NOT NULL,
    grouping TEXT NOT NULL, -- the values of group_by
    until BIGINT NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (trigger_id, grouping)
);

-- Why triggers did not run.
CREATE TABLE trigger_skips (
    trigger_id BIGINT NOT NULL,
    reason TEXT NOT NULL,
    count BIGINT NOT NULL,
    newest BIGINT NOT NULL, -- sequence of the newest event; 0 for a slot
    at BIGINT NOT NULL,
    PRIMARY KEY (trigger_id, reason)
);

-- +goose Down
DROP TABLE trigger_skips;
DROP TABLE trigger_cells;
DROP TABLE flow_schedules;
DROP TABLE run_listens;
DROP TABLE run_answers;
DROP TABLE runs;
DROP TABLE flow_versions;
