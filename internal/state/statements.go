package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// maxStatements bounds what is kept; the program has fewer.
const maxStatements = 512

// statements keeps the statements of the writing connection prepared: SQLite
// would compile the text again each time, while every other writer waits. What
// is met for the first time is prepared when its transaction is over, because
// there is one connection.
type statements struct {
	db *sql.DB

	mu   sync.Mutex // guards all below
	kept map[string]*sql.Stmt
	met  []string
}

// get returns a prepared statement, or nil, and remembers its text.
func (s *statements) get(query string) *sql.Stmt {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept := s.kept[query]; kept != nil {
		return kept
	}
	if len(s.kept)+len(s.met) < maxStatements {
		s.met = append(s.met, query)
	}
	return nil
}

// prepare prepares what was met. No transaction may be open. A text that cannot
// be prepared is left to the next one that uses it, who is told why.
func (s *statements) prepare(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, query := range s.met {
		if s.kept[query] != nil {
			continue
		}
		if kept, err := s.db.PrepareContext(ctx, query); err == nil { //nolint:sqlclosecheck // close does
			s.kept[query] = kept
		}
	}
	s.met = s.met[:0]
}

func (s *statements) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, kept := range s.kept {
		errs = append(errs, kept.Close())
	}
	clear(s.kept)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close statements: %w", err)
	}
	return nil
}

// ExecContext is that of sql.Tx, with the statement prepared once. The text must
// be a constant: values are arguments.
func (tx *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if kept := tx.state.statements.get(query); kept != nil {
		return tx.StmtContext(ctx, kept).ExecContext(ctx, args...) //nolint:sqlclosecheck // the end of the transaction does
	}
	return tx.Tx.ExecContext(ctx, query, args...)
}

// QueryRowContext is that of sql.Tx, with the statement prepared once. The row
// must be scanned before the same text is used again.
func (tx *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if kept := tx.state.statements.get(query); kept != nil {
		return tx.StmtContext(ctx, kept).QueryRowContext(ctx, args...) //nolint:sqlclosecheck // the end of the transaction does
	}
	return tx.Tx.QueryRowContext(ctx, query, args...)
}
