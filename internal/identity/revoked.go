package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/state"
)

// rememberRevoked is how long the use of a revoked token is told from the use of
// one that never was.
const rememberRevoked = 365 * 24 * time.Hour

// revoke remembers the hash of a token that opens nothing any more.
func revoke(tx *state.Tx, hash, name string) error {
	if hash == "" {
		return nil
	}
	_, err := tx.ExecContext(tx.Context(), `INSERT INTO revoked_tokens (hash, name, expires) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING`,
		hash, name, time.Now().Add(rememberRevoked).UnixNano())
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return nil
}

// noteRevoked records that a revoked token was used, where this is one.
func (i *Identity) noteRevoked(ctx context.Context, by state.Cause, hash string) error {
	var name string
	err := i.state.Reader().QueryRowContext(ctx, `SELECT name FROM revoked_tokens WHERE hash = $1`, hash).Scan(&name)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("revoked tokens: %w", err)
	}
	i.suspicious(ctx, by, "a revoked token was used: "+name)
	return nil
}

// suspicious records a request that looks like an attack. It is refused in any
// case, so that a failure to record is only logged.
func (i *Identity) suspicious(ctx context.Context, by state.Cause, message string) {
	by.AuthType, by.AuthID, by.AuthName, by.AuthEmail = "unauthenticated", "", "", ""
	data := map[string]any{"message": message}
	if by.Request != nil {
		data["method"], data["path"] = by.Request["method"], by.Request["path"]
	}
	e, err := by.Event(i.source+"/identity", "suspicious_request", "", withRequest(data, by))
	if err == nil {
		err = i.folder.Raise(ctx, by, e)
	}
	if err != nil {
		i.log.WarnContext(ctx, "suspicious request is not recorded", "err", err)
	}
}
