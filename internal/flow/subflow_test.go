package flow

import (
	"testing"

	"github.com/tocsin-events/tocsin/internal/state"
)

// A run that waits for another one goes on with what that comes to, also where its
// flow was deleted in the middle and the server started anew.
func TestSubflowDeleted(t *testing.T) {
	k := newKit(t)
	sub := k.flow(named("sub", "- rest: {wait: {seconds: 6}}\n- it: {set: {got: 7}}\n"))
	id := k.flow(named("main", `- both:
    fork:
      branches:
        - ask: {run: {workflow: {namespace: test, name: sub, version: '1.0.0'}}}
        - rest: {wait: {seconds: 3}}
- out: {set: '${ .[0] }'}
`))
	r, err := k.StartRun(t.Context(), state.System(), id, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	k.ends(r.ID, Waiting)
	if err := k.DeleteFlow(t.Context(), state.System(), sub, state.AnyVersion); err != nil {
		t.Fatal(err)
	}
	k.stop()
	k = openKit(t, k.dir)
	if r = k.ends(r.ID, Completed, Faulted); string(r.Output) != `{"got":7}` {
		t.Errorf("%s: %s %s", r.State, r.Output, r.Error)
	}
}
