package source

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/tail"
)

// Delivery: the lines that Postfix writes into the mail log when a client goes
// beyond a rate limit; what the sources rspamd (rspamd.ratelimit) and stalwart
// (stalwart. and the name of a limit) have recorded, which is read every interval.
// Makes: mail_throttle_suspended, when a sender has as many hits within the window
// as the limit says. From then on he counts as suspended for suspend_for: nothing
// more is told of him, and after it he is counted anew.
// Leaves out: locking him out. Neither Postfix nor rspamd knows suspended senders;
// a rule or a flow can act on the event, and let him in again at suspended_until.
// Reference: postfix.org, TUNING_README ("client rate limits"); rspamd.com, ratelimit.
func init() {
	register("mail_throttle_suspended", "Senders that hit mail rate limits again and again.", throttleOptions{
		Enabled: true, Logs: []string{"/var/log/mail.log", "/var/log/maillog"}, Interval: config.Duration(10 * time.Second),
		Limit: 10, Window: config.Duration(time.Hour), SuspendFor: config.Duration(time.Hour),
	}, newThrottle)
}

type throttleOptions struct {
	Enabled    bool            `yaml:"enabled" doc:"Whether throttle hits are counted."`
	Logs       []string        `yaml:"logs" doc:"Mail logs of Postfix, with wildcards; empty to count rspamd and Stalwart alone."`
	Journal    bool            `yaml:"journal" doc:"Whether systemd's journal is read in place of logs, where Postfix writes into no file."`
	Interval   config.Duration `yaml:"interval" doc:"How often what rspamd and Stalwart have sent is counted; at least 1s."`
	Limit      int             `yaml:"limit" doc:"Hits within the window at which a sender counts as suspended."`
	Window     config.Duration `yaml:"window" doc:"Length of the window."`
	SuspendFor config.Duration `yaml:"suspend_for" doc:"How long he counts as suspended, from the hit that reaches the limit: data.suspended_until."`
	Exempt     []string        `yaml:"exempt" doc:"Senders that are never counted: account, address, or IP address."`
}

const (
	mostSenders   = 10_000 // that are counted at once; then those with the oldest hits are forgotten
	maxLimit      = 10_000
	throttlePause = 5 * time.Second // between two times that the counts are stored
)

type throttle struct {
	throttleOptions
	journal journal // nil where logs are read

	mu    sync.Mutex // guards all below
	state throttleState
	dirty bool
	saved time.Time
}

// throttleState is what is remembered over a restart: how far was read, and what
// was counted up to there.
type throttleState struct {
	Place   string                `json:"place"`
	Seen    event.Seq             `json:"seen"`
	Senders map[string]*throttled `json:"senders"` // by mail server, a space, and sender
}

// throttled is what was counted of a sender.
type throttled struct {
	Hits  []int64 `json:"hits,omitempty"`  // Unix times in milliseconds, ascending; at most as many as the limit
	Until int64   `json:"until,omitempty"` // end of the suspension, likewise
	Limit string  `json:"limit,omitempty"` // the name of the limit that was hit last
}

func newThrottle(o throttleOptions) (Source, error) {
	switch {
	case time.Duration(o.Interval) < time.Second:
		return nil, event.Invalidf("interval: %s is shorter than 1s", o.Interval)
	case o.Limit < 1 || o.Limit > maxLimit:
		return nil, event.Invalidf("limit: %d is not within 1 and %d", o.Limit, maxLimit)
	case time.Duration(o.Window) < time.Second:
		return nil, event.Invalidf("window: %s is shorter than 1s", o.Window)
	case o.SuspendFor < 0:
		return nil, event.Invalidf("suspend_for: %s is negative", o.SuspendFor)
	}
	t := &throttle{throttleOptions: o}
	if o.Journal {
		t.journal = &journalctl{}
	}
	return t, checkPatterns("logs", o.Logs)
}

// Run implements Source.
func (t *throttle) Run(ctx context.Context, env *Env) error {
	place, err := t.load(ctx, env)
	if err != nil {
		return err
	}
	parts := []func(context.Context) error{func(ctx context.Context) error { return t.others(ctx, env) }}
	if len(t.Logs) > 0 || t.journal != nil {
		parts = append(parts, func(ctx context.Context) error {
			return mailLines(ctx, env, "mail_throttle_suspended", t.Logs, t.journal, place, func(ctx context.Context, lines []tail.Line, place string) error {
				return t.give(ctx, env, lines, place)
			})
		})
	}
	err = inParallel(ctx, parts...)
	t.mu.Lock()
	defer t.mu.Unlock()
	return cmp.Or(err, t.save(context.WithoutCancel(ctx), env, true))
}

// load takes up where an earlier run has stopped. What can't be read is forgotten.
func (t *throttle) load(ctx context.Context, env *Env) (place string, err error) {
	text, err := env.Memory.Load(ctx, "state")
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = throttleState{}
	if json.Unmarshal([]byte(text), &t.state) != nil {
		t.state = throttleState{}
	}
	if t.state.Senders == nil {
		t.state.Senders = map[string]*throttled{}
	}
	return t.state.Place, nil
}

// give reads lines of the log.
func (t *throttle) give(ctx context.Context, env *Env, lines []tail.Line, place string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, l := range lines {
		p, ok := parsePostfix(l.Text, now)
		if !ok {
			continue
		}
		if client, limit, ok := p.throttled(); ok {
			if err := t.hit(ctx, env, hit{"postfix", client, limit, p.at, l.Path + "\n" + strconv.FormatInt(l.Offset, 10) + "\n" + l.Text}); err != nil {
				return err
			}
		}
	}
	t.state.Place, t.dirty = place, true
	return t.save(ctx, env, len(lines) == 0)
}

// others reads what rspamd and Stalwart have sent, at every interval.
func (t *throttle) others(ctx context.Context, env *Env) error {
	if env.History == nil {
		<-ctx.Done()
		return nil
	}
	if len(t.Logs) == 0 && t.journal == nil {
		env.Status(Running, "")
	}
	tick := time.NewTicker(time.Duration(t.Interval))
	defer tick.Stop()
	for {
		if err := t.readJournal(ctx, env); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// throttleTypes are the events of others that are throttle hits.
func throttleTypes() []event.Type {
	return []event.Type{
		"rspamd.ratelimit", "stalwart.smtp.rate-limit-exceeded", "stalwart.queue.rate-limit-exceeded", "stalwart.delivery.rate-limit-exceeded",
		"stalwart.limit.too-many-requests",
	}
}

func (t *throttle) readJournal(ctx context.Context, env *Env) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen, err := env.History.Each(ctx, throttleTypes(), t.state.Seen, time.Now().Add(-time.Duration(t.Window)), func(e *event.Event) error {
		var d struct {
			Sender  string `json:"sender"`
			Limit   string `json:"limit"`
			Account string `json:"accountName"`
			From    string `json:"from"`
			Address string `json:"remoteIp"`
		}
		if json.Unmarshal(e.Data, &d) != nil {
			return nil //nolint:nilerr // of another form: events of these names may come from anybody
		}
		mta, _, _ := strings.Cut(string(e.Type), ".")
		if mta == "stalwart" {
			d.Sender, d.Limit = firstText(d.Account, d.From, d.Address), strings.TrimPrefix(string(e.Type), "stalwart.")
		}
		return t.hit(ctx, env, hit{mta, d.Sender, d.Limit, e.Time, string(e.ID)})
	})
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if seen != t.state.Seen {
		t.state.Seen, t.dirty = seen, true
	}
	return t.save(ctx, env, false)
}

// hit is one message or connection that a rate limit has held back.
type hit struct {
	mta, sender, limit string
	at                 time.Time
	ref                string // by which it is the same when it is read again
}

// hit counts, and tells where the limit is reached.
func (t *throttle) hit(ctx context.Context, env *Env, h hit) error {
	h.sender = plainText(h.sender, 256)
	if h.sender == "" || slices.Contains(t.Exempt, h.sender) {
		return nil
	}
	now := h.at.UnixMilli()
	if now > time.Now().Add(time.Minute).UnixMilli() {
		now = time.Now().UnixMilli() // of a clock that is ahead
	}
	key := h.mta + " " + h.sender
	s := t.state.Senders[key]
	if s == nil {
		t.forget()
		s = &throttled{}
		t.state.Senders[key] = s
	}
	t.dirty = true
	s.Limit = plainText(h.limit, 100)
	if now < s.Until && s.Until-now <= time.Duration(t.SuspendFor).Milliseconds() {
		return nil // suspended already; an end that is too far was of a clock that was ahead
	}
	s.Until = 0
	s.Hits = append(s.Hits, now)
	slices.Sort(s.Hits)
	from := s.Hits[len(s.Hits)-1] - time.Duration(t.Window).Milliseconds()
	s.Hits = slices.DeleteFunc(s.Hits, func(at int64) bool { return at <= from })
	if len(s.Hits) < t.Limit {
		return nil
	}
	until := now + time.Duration(t.SuspendFor).Milliseconds()
	sum := sha256.Sum256([]byte("mail_throttle_suspended\n" + key + "\n" + h.ref))
	err := tell(ctx, env, finding{
		producer: "mail", t: "mail_throttle_suspended", severity: event.Warn, subject: "sender/" + h.sender, at: h.at,
		id: event.ID(hex.EncodeToString(sum[:16])), // read again behind a crash, it is the same event
		data: map[string]any{
			"sender": h.sender, "hits": len(s.Hits), "window": t.Window.String(), "limit": t.Limit, "limit_name": s.Limit, "mta": h.mta,
			"suspended_until": time.UnixMilli(until).UTC().Format(time.RFC3339),
		},
	})
	if err != nil {
		return err
	}
	s.Hits, s.Until = nil, until
	return nil
}

// forget makes room for one more sender: first who has no hit in the window and
// is not suspended, then who was hit longest ago.
func (t *throttle) forget() {
	if len(t.state.Senders) < mostSenders {
		return
	}
	from := time.Now().Add(-time.Duration(t.Window)).UnixMilli()
	last := func(s *throttled) int64 {
		if n := len(s.Hits); n > 0 {
			return s.Hits[n-1]
		}
		return s.Until - time.Duration(t.SuspendFor).Milliseconds()
	}
	maps.DeleteFunc(t.state.Senders, func(_ string, s *throttled) bool { return last(s) < from && s.Until < time.Now().UnixMilli() })
	if len(t.state.Senders) < mostSenders {
		return
	}
	// A tenth at once: this is not to be done for each hit of a flood.
	keys := slices.SortedFunc(maps.Keys(t.state.Senders), func(a, b string) int {
		return int(last(t.state.Senders[a]) - last(t.state.Senders[b]))
	})
	for _, key := range keys[:mostSenders/10] {
		delete(t.state.Senders, key)
	}
}

// save keeps what was read and counted, together; every few seconds, unless it
// must be now. What is read again behind a crash counts as before and gives the
// same events.
func (t *throttle) save(ctx context.Context, env *Env, must bool) error {
	now := time.Now()
	if !must && (!t.dirty || now.Sub(t.saved).Abs() < throttlePause) {
		return nil
	}
	text, err := json.Marshal(&t.state)
	if err != nil {
		return fmt.Errorf("mail_throttle_suspended: %w", err)
	}
	if err := env.Memory.Store(ctx, "state", string(text)); err != nil {
		return err
	}
	t.dirty, t.saved = false, now
	return nil
}
