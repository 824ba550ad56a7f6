-- +goose Up
-- Which account an identity of an OpenID provider opens.
CREATE TABLE oidc_links (
    provider TEXT NOT NULL,
    subject TEXT NOT NULL, -- the claim sub
    user_id BIGINT NOT NULL,
    linked BIGINT NOT NULL, -- nanoseconds since 1970
    PRIMARY KEY (provider, subject)
);
CREATE INDEX oidc_links_of ON oidc_links (user_id);

-- +goose Down
DROP TABLE oidc_links;
