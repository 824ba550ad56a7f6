// Package ingest is the only writer of the journal: it takes events from
// outside and from the server itself, checks and completes them, and answers
// when they are durable.
//
// It promises: what Accept reports as accepted is on disk; a bad event is
// answered by its place and its reason and keeps no good one back; no secret
// passes; nothing is dropped silently; and what only the server may say of an
// event, no sender can.
package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// Policy is what is done with an event that the catalog does not know, or that
// does not follow its entry (ingest.unknown).
type Policy string

// The policies.
const (
	AcceptUnknown     Policy = "accept"     // record it as custom
	QuarantineUnknown Policy = "quarantine" // record it as custom, marked, so that nothing acts on it
	RejectUnknown     Policy = "reject"     // refuse it
)

// Extension attributes that ingest adds.
const (
	// MisfitAttribute says how an event differs from its type's entry.
	MisfitAttribute = "misfit"
	// QuarantineAttribute is true on events that no rule and no trigger may act on.
	QuarantineAttribute = "quarantined"
)

// MaxDepth is how long a chain of causes may be.
const MaxDepth = 8

// Sender is who hands events in.
type Sender struct {
	// Name goes into recordedby: the token, the user, or the part of the server.
	Name string
	// Brand is that of the host name under which they came; empty for none.
	Brand string
	// Trusted senders are other Tocsins with the scope forward: what they say
	// about place, depth and brand is kept.
	Trusted bool
	// Own events are the server's; they may use its source base.
	Own bool
}

// Incoming is one event, or the reason why it could not be read.
type Incoming struct {
	Event event.Event
	Err   error
}

// Result is the fate of one incoming event.
type Result struct {
	ID        event.ID
	Sequence  event.Seq
	Duplicate bool
	Conflict  bool
	Err       error // of class event.ErrInvalid or event.ErrDenied; nil when it is recorded
}

// Answer is the fate of a batch.
type Answer struct {
	Accepted, Duplicates, Rejected int
	Results                        []Result
}

// Outcome names what became of an event, for metrics.
type Outcome string

// The outcomes. Reasons of refusal are a small fixed set.
const (
	Recorded  Outcome = "recorded"
	Duplicate Outcome = "duplicate"
	Rejected  Outcome = "rejected"
)

// Options configure New.
type Options struct {
	Journal *journal.Journal
	Catalog *catalog.Catalog
	Enrich  func(*event.Event) // adds what is known about the client's address
	Unknown func() Policy      // asked for each event: a reload may change it
	// Bases are the source prefixes that only the server itself may use.
	Bases []string
	// Stamp says from which host events are that name none, and which attributes
	// every event from here has; nil for neither. What another Tocsin has
	// forwarded is left as it is.
	Stamp func() (host string, labels []event.Attribute)
	// Count is told of every event; reason is empty unless it is rejected.
	Count func(t event.Type, o Outcome, reason string)
	// Log gives what gets an info line for every recorded event; nil for nothing.
	Log func() *slog.Logger
	// Span begins a span of the trace in ctx about a number of events, and
	// returns what ends it. It may be nil.
	Span func(ctx context.Context, name string, events int) (context.Context, func(error))
}

// Ingest accepts events.
type Ingest struct {
	Options
	depths *depths
}

// New returns an Ingest.
func New(o Options) *Ingest {
	if o.Count == nil {
		o.Count = func(event.Type, Outcome, string) {}
	}
	if o.Log == nil {
		o.Log = func() *slog.Logger { return nil }
	}
	if o.Stamp == nil {
		o.Stamp = func() (string, []event.Attribute) { return "", nil }
	}
	if o.Span == nil {
		o.Span = func(ctx context.Context, _ string, _ int) (context.Context, func(error)) { return ctx, func(error) {} }
	}
	return &Ingest{Options: o, depths: newDepths()}
}

// Accept checks, completes and records events. The error is set only when
// nothing could be recorded at all, as when the journal has stopped; it is of
// class event.ErrUnavailable, and the same events may be sent again.
func (i *Ingest) Accept(ctx context.Context, from Sender, in []Incoming) (_ Answer, err error) {
	ctx, end := i.Span(ctx, "ingest.Accept", len(in))
	defer func() { end(err) }()
	a := Answer{Results: make([]Result, len(in))}
	good := make([]event.Event, 0, len(in))
	at := make([]int, 0, len(in)) // where in the batch a good event stands
	now := time.Now().UTC()
	for n := range in {
		good = append(good, in[n].Event) // there is room: it is not moved
		e, err := &good[len(good)-1], in[n].Err
		if err == nil {
			err = i.complete(e, &from, now)
		}
		a.Results[n] = Result{ID: in[n].Event.ID, Err: err}
		if err != nil {
			a.Rejected++
			i.Count(e.Type, Rejected, reasonOf(err))
			good = good[:len(good)-1]
			continue
		}
		at = append(at, n)
	}
	if len(good) == 0 {
		return a, nil
	}
	recorded, err := i.Journal.Append(ctx, good)
	if err != nil {
		return Answer{}, fmt.Errorf("record: %w", err)
	}
	for k, r := range recorded {
		if r.Conflict && in[at[k]].Event.Time.IsZero() {
			r.Conflict = i.differs(&good[k], r.Seq)
		}
		i.settle(ctx, &a, &a.Results[at[k]], &good[k], r)
	}
	return a, nil
}

// differs compares a duplicate that came without a time with the event that was
// recorded first: the time that it was given here is no difference.
func (i *Ingest) differs(e *event.Event, seq event.Seq) bool {
	hit, err := i.Journal.Get(seq)
	if err != nil {
		return true
	}
	first, err := event.Decode(hit.Body)
	if err != nil {
		return true
	}
	again := *e
	again.Time, again.RecordedBy = first.Time, first.RecordedBy
	return !bytes.Equal(first.AppendStored(nil), again.AppendStored(nil))
}

// settle enters what the journal said of one event into the answer.
func (i *Ingest) settle(ctx context.Context, a *Answer, to *Result, e *event.Event, r journal.Result) {
	to.Sequence, to.Duplicate, to.Conflict = r.Seq, r.Duplicate, r.Conflict
	if r.Duplicate {
		a.Duplicates++
		i.Count(e.Type, Duplicate, "")
		return
	}
	a.Accepted++
	i.Count(e.Type, Recorded, "")
	i.depths.add(e.ID, e.CausationDepth)
	if log := i.Log(); log != nil {
		log.InfoContext(ctx, "event recorded", "sequence", uint64(r.Seq), "id", string(e.ID), "type", string(e.Type),
			"source", e.Source, "subject", e.Subject, "severity", e.Severity.String(), "kind", string(e.Kind), "actor", e.Actor(),
			"client_ip", e.ClientIP, "message", i.Catalog.Message(e))
	}
}

// refusal is a rejection with a reason that can be counted.
type refusal struct {
	reason string
	error
}

func (r *refusal) Unwrap() error { return r.error }

func reasonOf(err error) string {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.reason
	}
	return "malformed"
}

// complete makes an event ready to be recorded, or says why it can't be.
func (i *Ingest) complete(e *event.Event, from *Sender, now time.Time) error {
	if !from.Own && !from.Trusted && i.isOwn(e.Source) {
		return &refusal{"own_source", event.Deniedf("source %q belongs to this server; use one of your own", e.Source)}
	}
	e.Sequence, e.RecordedTime, e.RecordedBy = 0, time.Time{}, from.Name
	if !from.Trusted {
		e.GeoCountry, e.GeoContinent, e.GeoCity, e.GeoLat, e.GeoLon = "", "", "", "", ""
		e.ASN, e.ASOrg, e.ASNetwork = "", "", ""
		e.CausationDepth = 0
		if !from.Own {
			e.Brand = from.Brand
		}
	}
	if !from.Trusted {
		i.stamp(e)
	}
	if err := i.classify(e, from); err != nil {
		return err
	}
	Redact(i.Catalog, e)
	if e.GeoCountry == "" && e.ASN == "" {
		i.Enrich(e)
	}
	if e.Time.IsZero() {
		e.Time = now
	}
	if e.CausationID != "" && !from.Trusted {
		e.CausationDepth = i.depths.of(event.ID(e.CausationID)) + 1
	}
	if e.CausationDepth > MaxDepth {
		return &refusal{"depth", event.Deniedf("this would be event %d of a chain of causes; more than %d are taken for a loop", e.CausationDepth, MaxDepth)}
	}
	return nil
}

// stamp names the host and its labels, where the event does not.
func (i *Ingest) stamp(e *event.Event) {
	host, labels := i.Stamp()
	if e.Host == "" {
		e.Host = host
	}
	for _, label := range labels {
		if _, has := e.Extension(label.Name); !has {
			e.SetExtension(label.Name, label.Value)
		}
	}
}

// Redact masks the secrets of an event, with what the catalog says of its fields.
func Redact(c *catalog.Catalog, e *event.Event) {
	redact.Event(e, func(field []byte) (bool, bool) { return c.Secrecy(e.Type, field) })
}

func (i *Ingest) isOwn(source string) bool {
	for _, base := range i.Bases {
		rest, has := strings.CutPrefix(source, base)
		if base != "" && has && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// classify sets kind and severity from the catalog and applies the policy on
// what does not fit.
func (i *Ingest) classify(e *event.Event, from *Sender) error {
	entry, known := i.Catalog.Get(e.Type)
	misfit := i.Catalog.Check(e)
	if e.Severity == 0 {
		e.Severity = i.Catalog.Severity(e.Type)
	}
	e.Kind = event.KindCustom
	if known && (misfit == nil || from.Own) {
		e.Kind = entry.Kind
	}
	if misfit == nil || from.Own {
		return nil
	}
	policy := i.Unknown()
	switch policy {
	case RejectUnknown:
		reason := "misfit"
		if misfit.Unknown {
			reason = "unknown_type"
		}
		return &refusal{reason, event.Invalidf("%w; add or mend the type in the catalog, or set ingest.unknown to accept", misfit)}
	case QuarantineUnknown:
		e.SetExtension(QuarantineAttribute, true)
	}
	if !misfit.Unknown || policy == QuarantineUnknown {
		e.SetExtension(MisfitAttribute, misfit.Error())
	}
	return nil
}
