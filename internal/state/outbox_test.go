package state_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// raise makes one change with an event for each subject.
func raise(ctx context.Context, s *state.State, subjects ...string) error {
	return s.Write(ctx, by(), func(tx *state.Tx) error {
		for _, subject := range subjects {
			if err := tx.Raise("identity", "t", subject, map[string]any{"x": "\x00\xff"}); err != nil {
				return err
			}
		}
		return nil
	})
}

// subjects are those of the rows behind a number, which must go up.
func subjects(t *testing.T, s *state.State, after int64) []string {
	t.Helper()
	all := []string{}
	for {
		rows, err := s.Outbox(t.Context(), after, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 {
			return all
		}
		for _, r := range rows {
			if r.Seq <= after {
				t.Fatalf("row %d comes behind row %d", r.Seq, after)
			}
			all, after = append(all, r.Event.Subject), r.Seq
		}
	}
}

// stored are the rows of the table behind a number.
func stored(t *testing.T, s *state.State, after int64) []state.Pending {
	t.Helper()
	rows, err := s.Reader().QueryContext(t.Context(), `SELECT seq, event FROM outbox WHERE seq > $1 ORDER BY seq`, after)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []state.Pending
	for rows.Next() {
		var p state.Pending
		var body string
		if err := rows.Scan(&p.Seq, &body); err != nil {
			t.Fatal(err)
		}
		if p.Event, err = event.Decode([]byte(body)); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// What is carried from memory is what a crash would leave in the table.
func TestOutboxMemoryIsTheTable(t *testing.T) {
	s := open(t, t.TempDir())
	for n := range 30 {
		if err := raise(t.Context(), s, strconv.Itoa(n), "again"); err != nil {
			t.Fatal(err)
		}
		if n%7 == 3 {
			s.Recorded(int64(2*n - 1)) // between the events of one change
		}
		for after := range int64(2*n + 3) {
			got, err := s.Outbox(t.Context(), after, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(stored(t, s, after), got); diff != "" {
				t.Fatalf("after change %d, behind row %d (-table +Outbox):\n%s", n, after, diff)
			}
		}
	}
}

// More than memory holds is left to the table, and found there in its order.
func TestOutboxBacklog(t *testing.T) {
	s := open(t, t.TempDir())
	want := []string{}
	for n := range 12 {
		var some []string
		for i := range 500 {
			some = append(some, strconv.Itoa(n*500+i))
		}
		want = append(want, some...)
		if err := raise(t.Context(), s, some...); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, subjects(t, s, 0)); diff != "" {
		t.Error(diff)
	}
	s.Recorded(5999)
	if diff := cmp.Diff(want[5999:], subjects(t, s, 5999)); diff != "" {
		t.Error(diff)
	}
}

// A transaction that is not committed leaves no event, and none behind it is lost.
func TestOutboxFailedCommit(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := raise(t.Context(), s, "a"); err != nil {
		t.Fatal(err)
	}
	for _, undo := range []func(tx *state.Tx, cancel func()) error{
		func(_ *state.Tx, cancel func()) error { cancel(); return nil },
		func(*state.Tx, func()) error { return errors.New("boom") },
		func(tx *state.Tx, _ func()) error { // what SQLite finds at the commit
			_, err := tx.ExecContext(tx.Context(), `CREATE TABLE whole (id BIGINT PRIMARY KEY)`)
			_, err2 := tx.ExecContext(tx.Context(), `CREATE TABLE part (of BIGINT REFERENCES whole DEFERRABLE INITIALLY DEFERRED)`)
			_, err3 := tx.ExecContext(tx.Context(), `INSERT INTO part (of) VALUES (7)`)
			if err := errors.Join(err, err2, err3); err != nil {
				t.Error(err)
			}
			return nil
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := s.Write(ctx, by(), func(tx *state.Tx) error {
			return errors.Join(tx.Raise("identity", "t", "never", nil), undo(tx, cancel))
		})
		if err == nil {
			t.Error("Write succeeded")
		}
		if err := raise(t.Context(), s, "b"); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"a", "b", "b", "b"}
	if diff := cmp.Diff(want, subjects(t, s, 0)); diff != "" {
		t.Error(diff)
	}
	again, err := state.Open(t.Context(), state.Options{Dir: dir, Source: "https://t.example"}) // as after a crash
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := raise(t.Context(), again, "c"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append(want, "c"), subjects(t, again, 0)); diff != "" {
		t.Error(diff)
	}
}

// Whoever follows the outbox while many write sees each event once, in the order
// of the commits.
func TestOutboxFollowed(t *testing.T) {
	s := open(t, t.TempDir())
	const writers, each = 8, 25
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				err := s.Write(t.Context(), by(), func(tx *state.Tx) error {
					n, err := tx.Next("turns", 1)
					return errors.Join(err, tx.Raise("identity", "t", strconv.FormatInt(n, 10), nil))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	var got, want []string
	for after := int64(0); len(got) < writers*each && !t.Failed(); {
		rows, err := s.Outbox(t.Context(), after, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			got, after = append(got, r.Event.Subject), r.Seq
		}
		s.Recorded(after)
	}
	all.Wait()
	for n := range writers * each {
		want = append(want, strconv.Itoa(n+1))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
