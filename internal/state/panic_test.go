package state_test

import (
	"context"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/state"
)

// A panic within a transaction undoes it, and keeps nobody else from writing,
// also where its context goes on: a source that panics is started anew.
func TestWritePanics(t *testing.T) {
	s := open(t, t.TempDir())
	if err := raise(t.Context(), s, "before"); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() != "of the handler" {
				t.Error("the panic is swallowed")
			}
		}()
		_ = s.Write(t.Context(), by(), func(tx *state.Tx) error {
			if err := tx.Raise("identity", "t", "lost", nil); err != nil {
				return err
			}
			if _, err := tx.ExecContext(t.Context(), `INSERT INTO counters (name, value) VALUES ('half', 1)`); err != nil {
				return err
			}
			panic("of the handler")
		})
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := raise(ctx, s, "behind"); err != nil {
		t.Fatal(err)
	}
	var half int
	if err := s.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM counters WHERE name = 'half'`).Scan(&half); err != nil || half != 0 {
		t.Errorf("half of it is there: %d, %v", half, err)
	}
	if got := subjects(t, s, 0); len(got) != 2 || got[1] != "behind" {
		t.Errorf("outbox: %v", got)
	}
}
