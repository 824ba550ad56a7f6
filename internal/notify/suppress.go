package notify

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Why something is not told. They are the label reason of
// tocsin_notify_suppressed_total.
//
//	silenced          a silence covers it
//	depth             the chain of causes is too long
//	budget            the chain of causes has told enough
//	loop              the way would be told of its own failure
//	told_already      the person has heard of the event by this way
//	unsubscribed      the person does not want to hear this rule
//	no_address        the person has no e-mail address
//	exception_folded  a broken policy has been recorded often enough in this minute

// suppression is what is folded into one row of the ledger.
type suppression struct {
	rule, way, person state.ObjectID
	reason            string
	hour              int64
}

// folded is how often, and for which event last.
type folded struct {
	count int
	seq   event.Seq
	at    int64
}

func (w *work) suppress(r *rule, way, person state.ObjectID, reason string, seq event.Seq) {
	at := w.e.seen
	key := suppression{r.id, way, person, reason, at.Unix() / 3600}
	f := w.suppressed[key]
	if f == nil {
		f = &folded{}
		w.suppressed[key] = f
	}
	f.count++
	f.seq, f.at = seq, at.UnixNano()
	w.e.n.o.Metrics.Suppressed(r.Name, reason)
}

func (s *suppression) key() string {
	return shortHash(fmt.Sprint("suppressed|", s.rule, "|", s.way, "|", s.person, "|", s.reason, "|", s.hour))
}

const (
	// maxDepth is how many events may lead to one that is still told.
	maxDepth = 8
	// chainBudget is how many tellings one chain of causes may have in chainLife.
	chainBudget = 100
	chainLife   = 24 * time.Hour
)

// chain is how much was told of one chain of causes.
type chain struct {
	told  int
	begun int64
	dirty bool
}

// inBudget reports whether a telling may be made of an event that others have
// led to.
func (w *work) inBudget(t *telling) bool {
	e := t.cause.Event
	if e.CausationDepth == 0 && e.CausationID == "" {
		return true
	}
	if e.CausationDepth >= maxDepth {
		w.suppress(t.rule, 0, 0, "depth", e.Sequence)
		return false
	}
	id := cmp.Or(e.CorrelationID, e.CausationID)
	c := w.chains[id]
	if c == nil {
		c = &chain{begun: e.RecordedTime.UnixNano()}
		err := w.e.n.o.State.Reader().QueryRowContext(w.ctx, `SELECT told, begun FROM chains WHERE id = $1`, id).Scan(&c.told, &c.begun)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			w.e.n.o.Logger.WarnContext(w.ctx, "notify: a chain's budget is not known", "err", err)
		}
		w.chains[id] = c
	}
	if e.RecordedTime.UnixNano()-c.begun > int64(chainLife) {
		*c = chain{begun: e.RecordedTime.UnixNano()}
	}
	if c.told >= chainBudget {
		w.suppress(t.rule, 0, 0, "budget", e.Sequence)
		return false
	}
	c.told++
	c.dirty = true
	return true
}

// loops says why a way must not be told of an event, or of what has waited: of
// nothing but its own failures. Empty where it may.
func (w *work) loops(t *telling, to *way) string {
	lines, id := t.told.lines, to.id.String()
	if t.cause != nil {
		lines = []line{{Failed: w.e.n.failedWay(t.cause.Event)}}
	} else if t.told.count > len(lines) {
		return "" // there is more than is known
	}
	for i := range lines {
		if lines[i].Failed != id {
			return ""
		}
	}
	return "loop"
}

// failedWay is the id of the transport of whose failure an event of telling's own
// tells; empty for all others.
func (n *Notify) failedWay(e *event.Event) string {
	if !n.isOwn(e) {
		return ""
	}
	if id, ok := strings.CutPrefix(e.Subject, "transport/"); ok {
		return id
	}
	return catalog.Lookup(e, "data.transport.pk")
}

func (w *work) writeChains(tx *state.Tx) error {
	for id, c := range w.chains {
		if !c.dirty {
			continue
		}
		_, err := tx.ExecContext(tx.Context(), `INSERT INTO chains (id, told, begun) VALUES ($1, $2, $3)
			ON CONFLICT (id) DO UPDATE SET told = $2, begun = $3`, id, c.told, c.begun)
		if err != nil {
			return fmt.Errorf("chain: %w", err)
		}
	}
	return nil
}
