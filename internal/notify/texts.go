package notify

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// texts are what the messages of a round are made of, read once.
type texts struct {
	n      *Notify
	words  map[event.Type]*Template
	bodies map[event.Seq][]byte

	mu    sync.Mutex // guards names
	names map[state.ObjectID]string
}

const (
	// stride is how many events are read ahead at once, about a block of a segment,
	// from which each by itself would have to be unpacked anew.
	stride = 64
	// maxAhead bounds the bytes that are read ahead.
	maxAhead = 4 << 20
)

// readAhead reads the events of messages where they lie close together. Those that
// are left out are read when they are sent.
func (n *Notify) readAhead(ctx context.Context, due []Delivery) map[event.Seq][]byte {
	wanted := map[event.Seq][]byte{}
	for i := range due {
		wanted[due[i].Sequence] = nil
	}
	seqs := slices.Sorted(maps.Keys(wanted))
	for i, size := 0, 0; i+1 < len(seqs) && size < maxAhead; {
		if seqs[i] == 0 || seqs[i+1] > seqs[i]+stride/8 {
			i++
			continue
		}
		hits, err := n.o.Journal.After(ctx, seqs[i]-1, stride)
		if err != nil || len(hits) == 0 {
			break // sending will say why
		}
		for _, h := range hits {
			size += len(h.Body)
			if _, ok := wanted[h.Seq]; ok {
				wanted[h.Seq] = h.Body
			}
		}
		for i < len(seqs) && seqs[i] <= hits[len(hits)-1].Seq {
			i++
		}
	}
	return wanted
}

// event is what happened; nil where it is no longer in the journal, and why.
func (t *texts) event(seq event.Seq) (*event.Event, error) {
	body := t.bodies[seq]
	if body == nil {
		hit, err := t.n.o.Journal.Get(seq)
		if err != nil {
			return nil, err
		}
		body = hit.Body
	}
	e, err := event.DecodeStored(body)
	if err != nil {
		return nil, err
	}
	e.Sequence = seq
	return &e, nil
}

func (n *Notify) readTexts(ctx context.Context, due []Delivery) (*texts, error) {
	t := &texts{n: n, words: map[event.Type]*Template{}, names: map[state.ObjectID]string{}, bodies: n.readAhead(ctx, due)}
	return t, eachOf(ctx, n.o.State.Reader(), &templates, func(r state.Record[Template]) error {
		t.words[event.Type(r.Value.Type)] = &r.Value
		return nil
	})
}

// rule is the name of a rule.
func (t *texts) rule(ctx context.Context, id state.ObjectID) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if name, known := t.names[id]; known {
		return name, nil
	}
	r, err := t.n.GetRule(ctx, id)
	if errors.Is(err, event.ErrNotFound) {
		r.Value.Name, err = "a rule that was removed", nil
	}
	if err == nil {
		t.names[id] = r.Value.Name
	}
	return r.Value.Name, err
}
