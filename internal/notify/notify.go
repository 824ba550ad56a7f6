package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/egress"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/follow"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
)

// producer is the last part of the source of events of telling.
const producer = "notify"

// Journal is what happened.
type Journal interface {
	follow.Journal
	Get(seq event.Seq) (segment.Hit, error)
	Search(ctx context.Context, q *segment.Query) (segment.Page, error)
}

// Metrics are told how much is told.
type Metrics interface {
	Told(transport string)
	Suppressed(rule, reason string)
	Attempted(transport, outcome string) // delivered, retrying or dead
}

// Options configure New. All but MailTLS and Lag must be set.
type Options struct {
	State     *state.State
	Journal   Journal
	Catalog   *catalog.Catalog
	Filters   *filter.Env
	Key       state.Key
	Directory Directory
	Egress    *egress.Guard
	SMTP      func() config.SMTP // of this moment
	MailTLS   *tls.Config        // of connections to the mail server; nil for the system's
	Source    string             // prefix of the source of events
	PublicURL string
	Host      string
	Version   string
	Helper    []string // the command that answers transport.Help
	Owner     string   // of leases: this node
	Metrics   Metrics
	Lag       func(events uint64)
	Logger    *slog.Logger
}

// Notify tells people.
type Notify struct {
	o        Options
	seal     *state.Sealer
	linkKey  []byte
	follower *follow.Follower
	sender   *sender
	trials   chan struct{} // bounds how many back-tests run at once

	mu      sync.Mutex // guards changed
	changed chan struct{}
}

// New returns a Notify; it tells while its Run is running.
func New(ctx context.Context, o Options) (*Notify, error) {
	n := &Notify{
		o: o, seal: o.Key.Sealer("transports"), linkKey: o.Key.Derive("unsubscribe links"), changed: make(chan struct{}), trials: make(chan struct{}, 2),
	}
	var err error
	n.follower, err = follow.New(ctx, follow.Options{
		Name: "notify", Owner: o.Owner, Journal: o.Journal, State: o.State, Handler: n.Handler(), Logger: o.Logger, Lag: o.Lag,
	})
	n.sender = newSender(n)
	return n, err
}

// Run decides and sends, until ctx ends.
func (n *Notify) Run(ctx context.Context) error {
	var all sync.WaitGroup
	var sent error
	all.Go(func() { sent = n.sender.run(ctx) })
	err := n.follower.Run(ctx)
	all.Wait()
	return errors.Join(err, sent)
}

// Handler is what Run follows the journal with: it decides, and what it returns
// puts messages into the ledger. It is for one who follows in its place.
func (n *Notify) Handler() follow.Handler { return &engine{n: n} }

// touch wakes the sender and those who look at the ledger or their inbox.
func (n *Notify) touch() {
	n.sender.look()
	n.announce()
}

func (n *Notify) announce() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.changed)
	n.changed = make(chan struct{})
}

// Changed gives a channel that is closed when the ledger or an inbox changes.
// Take it before reading.
func (n *Notify) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}
