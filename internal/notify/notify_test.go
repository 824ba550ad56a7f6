package notify

import (
	"testing"

	"github.com/tocsin-events/tocsin/internal/event"
)

// An event that a rule wants arrives, once, and the ledger says so.
func TestDelivered(t *testing.T) {
	k := newKit(t)
	s := newSink(t, nil)
	way := k.webhook("hook", s.URL)
	id := k.rule("disks", way, func(r *Rule) { r.Types, r.Filter = []string{"disk_*"}, `data.path == "/var"` })
	k.start()
	k.emit(event.Event{Type: "disk_full", Data: []byte(`{"path":"/home"}`)})
	seq := k.emit(event.Event{Type: "disk_full", Data: []byte(`{"path":"/var"}`)})
	k.until("it is delivered", func() bool {
		all := k.ledger(DeliveryQuery{Rule: id})
		return len(all) == 1 && all[0].State == Delivered && all[0].Sequence == seq && all[0].Attempts == 1
	})
	if got := s.all(); len(got) != 1 {
		t.Errorf("arrived: %v", got)
	}
}

// A rule that is made while it runs holds from then on.
func TestNewRule(t *testing.T) {
	k := newKit(t)
	s := newSink(t, nil)
	k.start()
	way := k.webhook("hook", s.URL)
	k.emit(event.Event{Type: "disk_full", Data: []byte(`{"path":"/home"}`)})
	id := k.rule("disks", way, func(r *Rule) { r.Types = []string{"disk_*"} })
	seq := k.emit(event.Event{Type: "disk_full", Data: []byte(`{"path":"/var"}`)})
	k.until("it is delivered", func() bool {
		all := k.ledger(DeliveryQuery{Rule: id})
		return len(all) == 1 && all[0].State == Delivered && all[0].Sequence == seq
	})
}
