package flow

import (
	"context"
	"errors"
	"testing"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// What is stored goes on, also where its event can't be recorded yet: such as since
// who asked for it has gone.
func TestStoredNotRecorded(t *testing.T) {
	k := newKit(t)
	id := k.flow(named("it", "- it: {set: {a: 1}}\n"))
	gone, cancel := context.WithCancel(t.Context())
	k.state.SetRecorder(func(context.Context, int64) error { cancel(); return gone.Err() })
	if _, err := k.StartRun(gone, state.System(), id, nil, "key"); !errors.Is(err, event.ErrUnavailable) {
		t.Fatalf("it was recorded: %v", err)
	}
	late := NewTrigger()
	late.Flow, late.Name, late.Types = id.String(), "late", []string{"bell"}
	if _, err := k.CreateTrigger(t.Context(), state.System(), late); !errors.Is(err, event.ErrUnavailable) {
		t.Fatalf("it was recorded: %v", err)
	}
	k.state.SetRecorder(func(context.Context, int64) error { return nil })
	k.ends(runOf("key", state.System().AuthType, state.System().AuthID, id.String(), "key"), Completed)
	k.emits("bell", "1", `{}`)
	k.until("the trigger runs", func() bool {
		runs, err := k.ListRuns(t.Context(), RunQuery{Flow: id, Limit: 10})
		return err == nil && len(runs) == 2
	})
}
