package notify

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// decides runs the follower alone: what is queued stays so.
func (k *kit) decides() (stop func()) {
	ctx, cancel := context.WithCancel(k.t.Context())
	done := make(chan error)
	go func() { done <- k.follower.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			k.t.Error(err)
		}
	}
}

// A way is not told of its own failure, also where that has waited with others of
// its kind; what is new beside it is told. A chain that is too deep does not wait.
func TestLoopsThroughDigests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		hook, inbox := k.webhook("hook", "http://127.0.0.1:9"), k.inbox()
		id := k.rule("all", hook, func(r *Rule) {
			r.Types, r.DigestEvery, r.Recipients = []string{"x", "notification.delivery.failed"}, dur("1h"), Recipients{AccessLevels: []string{"admin"}}
			r.Transports = append(r.Transports, inbox.String())
		})
		defer k.decides()()
		failure := event.Event{Source: base + "/notify", Type: "notification.delivery.failed", Subject: "transport/" + hook.String()}
		told := func() (queued, delivered int) {
			return len(k.ledger(DeliveryQuery{Rule: id, State: Queued})), len(k.ledger(DeliveryQuery{Rule: id, State: Delivered}))
		}
		k.emit(failure)
		k.emit(failure)
		pass(61 * time.Minute)
		if hooked, stored := told(); hooked != 0 || stored != 1 {
			t.Errorf("of its failures, the way is told %d times, others %d times", hooked, stored)
		}
		k.emit(failure)
		k.emit(event.Event{Type: "x"})
		pass(61 * time.Minute)
		if hooked, stored := told(); hooked != 1 || stored != 2 {
			t.Errorf("of something else, too, the way is told %d times, others %d times", hooked, stored)
		}
		k.emit(event.Event{Type: "x", CausationID: "a", CausationDepth: maxDepth})
		pass(61 * time.Minute)
		if hooked, stored := told(); hooked != 1 || stored != 2 {
			t.Errorf("the way is told %d times, others %d times", hooked, stored)
		}
		reasons := []string{}
		for _, d := range k.ledger(DeliveryQuery{Rule: id, State: Suppressed}) {
			reasons = append(reasons, d.Reason)
		}
		if slices.Sort(reasons); !slices.Equal(reasons, []string{"depth", "loop"}) {
			t.Errorf("%q", reasons)
		}
	})
}
