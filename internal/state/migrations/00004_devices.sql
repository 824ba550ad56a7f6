-- +goose Up
-- Sign-ins that wait for somebody's consent in a browser (RFC 8628).
CREATE TABLE devices (
    hash TEXT PRIMARY KEY, -- SHA-256 of the device code
    user_code TEXT NOT NULL UNIQUE,
    client TEXT NOT NULL,
    client_ip TEXT NOT NULL,
    created BIGINT NOT NULL, -- nanoseconds since 1970, as below
    expires BIGINT NOT NULL,
    polled BIGINT NOT NULL,
    state TEXT NOT NULL, -- pending, approved or denied
    user_id BIGINT NOT NULL -- who has decided; 0 until then
);

-- +goose Down
DROP TABLE devices;
