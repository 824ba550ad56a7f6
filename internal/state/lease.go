package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Lease claims a piece of background work for an owner until ttl from now. It
// reports whether the owner has it: because it was free or expired, or because
// it held it before, in which case it is prolonged.
func (s *State) Lease(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	now := time.Now()
	r, err := s.write.ExecContext(ctx, `INSERT INTO leases (name, owner, expires) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET owner = $2, expires = $3 WHERE leases.owner = $2 OR leases.expires < $4`,
		name, owner, now.Add(ttl).UnixNano(), now.UnixNano())
	if err != nil {
		return false, fmt.Errorf("lease %s: %w", name, err)
	}
	n, err := r.RowsAffected()
	return n == 1, err
}

// Unlease gives a lease back, so that another need not wait for its end.
func (s *State) Unlease(ctx context.Context, name, owner string) error {
	if _, err := s.write.ExecContext(ctx, `DELETE FROM leases WHERE name = $1 AND owner = $2`, name, owner); err != nil {
		return fmt.Errorf("unlease %s: %w", name, err)
	}
	return nil
}

// Cursor is how far a follower has come: the last sequence whose results are
// committed. found is false for a follower that has never committed any.
func (s *State) Cursor(ctx context.Context, name string) (seq event.Seq, found bool, err error) {
	var n int64
	err = s.read.QueryRowContext(ctx, `SELECT seq FROM cursors WHERE name = $1`, name).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("cursor %s: %w", name, err)
	}
	return event.Seq(n), true, nil
}

// Advance moves a follower's cursor within the transaction that holds its
// results, so that a crash neither loses nor doubles them. A cursor never goes
// back.
func (tx *Tx) Advance(name string, seq event.Seq) error {
	_, err := tx.exec("advance "+name, `INSERT INTO cursors (name, seq) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET seq = $2 WHERE cursors.seq < $2`, name, int64(seq))
	return err
}

// Fact is a small fact of the server itself; empty where it is not known.
func (s *State) Fact(ctx context.Context, name string) (string, error) {
	var value string
	err := s.read.QueryRowContext(ctx, `SELECT value FROM facts WHERE name = $1`, name).Scan(&value)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("fact %s: %w", name, err)
	}
	return value, nil
}

// SetFact stores a fact.
func (s *State) SetFact(ctx context.Context, name, value string) error {
	_, err := s.write.ExecContext(ctx, `INSERT INTO facts (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = $2`, name, value)
	if err != nil {
		return fmt.Errorf("fact %s: %w", name, err)
	}
	return nil
}
