package source

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: the stream of decisions of CrowdSec's local API (LAPI) is asked at
// every interval; it has no push. The first answer is what was decided before,
// and counts for nothing; so does what was decided while nobody watched for
// longer than the window.
// Makes: crowdsec_spike, once when more decisions than the threshold arrived
// within the window; again only after there were no more than that for a whole
// window.
// Leaves out: decisions of the community's lists, unless they are asked for; decisions
// of simulated scenarios; deleted ones.
// Reference: docs.crowdsec.net, "Local API", GET /v1/decisions/stream.
func init() {
	register("crowdsec_spike", "Unusually many decisions of CrowdSec in a short time.", crowdsecOptions{
		Enabled: true, URL: "http://127.0.0.1:8080", Interval: config.Duration(10 * time.Second),
		Threshold: 50, Window: config.Duration(5 * time.Minute), Timeout: config.Duration(10 * time.Second),
	}, newCrowdsec)
}

type crowdsecOptions struct {
	Enabled   bool            `yaml:"enabled" doc:"Whether decisions are watched."`
	URL       string          `yaml:"url" doc:"Address of the local API: http://, https:// or unix:///path/of/the.socket."`
	KeyFile   string          `yaml:"key_file" doc:"File with a bouncer's API key, as cscli bouncers add tocsin -o raw prints it."`
	KeyEnv    string          `yaml:"key_env" doc:"Environment variable with the key, in place of a file."`
	CAFile    string          `yaml:"ca_file" doc:"Certificates (PEM) that vouch for the local API over https; empty for the system's."`
	Interval  config.Duration `yaml:"interval" doc:"How often the API is asked; at least 1s."`
	Timeout   config.Duration `yaml:"timeout" doc:"How long an answer may take."`
	Threshold int             `yaml:"threshold" doc:"How many decisions in the window are tolerated."`
	Window    config.Duration `yaml:"window" doc:"Length of the window, at least the interval."`
	Community bool            `yaml:"community" doc:"Whether decisions of the central API and of lists count, too."`
}

type crowdsec struct {
	crowdsecOptions
	lapi *lapiClient

	state  crowdsecState
	recent []decision // within the window, in the order of arrival
	beyond []arrival  // what did not fit into recent
	calm   time.Time  // since when a spike's rate is not above the threshold
	noted  time.Time  // the Polled that is stored
}

// crowdsecState is what is remembered over a restart.
type crowdsecState struct {
	Polled  time.Time      `json:"polled,omitzero"` // the last good answer
	Spike   bool           `json:"spike,omitempty"` // told, and not over
	Recent  []decision     `json:"recent,omitempty"`
	Pending map[string]any `json:"pending,omitempty"` // data of an event that is about to be recorded
	ID      event.ID       `json:"id,omitempty"`      // its id
	Time    time.Time      `json:"time,omitzero"`     // its time
}

// decision is one decision that arrived.
type decision struct {
	At       time.Time `json:"at"`
	ID       int64     `json:"id"`
	Scenario string    `json:"scenario"`
	Value    string    `json:"value"`
}

// arrival is how many decisions arrived at a time.
type arrival struct {
	at time.Time
	n  int
}

const (
	mostDecisions = 20_000 // that are remembered one by one; the rest is counted
	mostStored    = 2_000  // of them over a restart
	topOf         = 10     // entries of a list of the commonest
)

func newCrowdsec(o crowdsecOptions) (Source, error) {
	switch {
	case time.Duration(o.Interval) < time.Second:
		return nil, event.Invalidf("interval: %s is shorter than 1s", o.Interval)
	case o.Threshold < 1:
		return nil, event.Invalidf("threshold: %d is less than 1", o.Threshold)
	case o.Window < o.Interval:
		return nil, event.Invalidf("window: %s is shorter than the interval of %s", o.Window, o.Interval)
	case time.Duration(o.Timeout) < 100*time.Millisecond:
		return nil, event.Invalidf("timeout: %s is shorter than 100ms", o.Timeout)
	case o.KeyFile != "" && o.KeyEnv != "":
		return nil, event.Invalidf("key_file and key_env: give one of them")
	}
	lapi, err := newLAPIClient(o)
	return &crowdsec{crowdsecOptions: o, lapi: lapi}, err
}

// Run implements Source.
func (c *crowdsec) Run(ctx context.Context, env *Env) error {
	defer c.lapi.close()
	if err := c.load(ctx, env, time.Now()); err != nil {
		return err
	}
	tick := time.NewTicker(time.Duration(c.Interval))
	defer tick.Stop()
	for {
		if err := c.look(ctx, env, time.Now()); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// load takes up where an earlier run has stopped. What can't be read is forgotten.
func (c *crowdsec) load(ctx context.Context, env *Env, now time.Time) error {
	text, err := env.Memory.Load(ctx, "state")
	if err != nil {
		return err
	}
	c.state, c.recent, c.beyond, c.calm, c.noted = crowdsecState{}, nil, nil, time.Time{}, time.Time{}
	if json.Unmarshal([]byte(text), &c.state) != nil {
		c.state = crowdsecState{}
	}
	c.recent, c.state.Recent = c.state.Recent, nil
	for i := range c.recent {
		c.recent[i].At = earliest(c.recent[i].At, now) // the clock was set back since
	}
	c.state.Polled = earliest(c.state.Polled, now)
	return c.tellPending(ctx, env)
}

// look asks once. An error is one of the memory or the journal; what is wrong with
// CrowdSec is the source's status.
func (c *crowdsec) look(ctx context.Context, env *Env, now time.Time) error {
	fresh := c.state.Polled.IsZero() || now.Sub(c.state.Polled) > time.Duration(c.Window)
	arrived, err := c.lapi.decisions(ctx, env.Version, fresh)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		env.Problem(err)
		env.Status(Unavailable, c.lacks(err))
		return nil
	}
	env.Problem(nil)
	env.Status(Running, "")
	c.state.Polled = now
	news := fresh
	if !fresh {
		news = c.take(arrived, now)
	}
	turned, err := c.judge(ctx, env, now)
	// Without news, it is noted now and then that somebody watches.
	if err == nil && (news || turned || now.Sub(c.noted) > time.Duration(c.Window)/5) {
		err = c.save(ctx, env)
	}
	return err
}

// lacks says what is missing, and how to give it.
func (c *crowdsec) lacks(err error) string {
	if k, ok := errors.AsType[*lapiKeyError](err); ok {
		return k.Error() + ": run cscli bouncers add tocsin -o raw, write what it prints into a file and name it in sources.crowdsec_spike.key_file"
	}
	return "the local API of CrowdSec at " + c.URL + " gives no decisions: start CrowdSec, or set sources.crowdsec_spike.url"
}

// take adds what arrived to the window, and reports whether there was anything.
// The API may give a decision twice, at the edge between two questions.
func (c *crowdsec) take(a arrivals, now time.Time) bool {
	known := make(map[string]bool, len(c.recent))
	for _, d := range c.recent {
		known[d.key()] = true
	}
	counted := 0
	for _, d := range a.decisions {
		if known[d.key()] {
			continue
		}
		known[d.key()] = true
		counted++
		if len(c.recent) == mostDecisions {
			a.more++
			continue
		}
		d.At = now
		c.recent = append(c.recent, d)
	}
	if a.more > 0 {
		c.beyond = append(c.beyond, arrival{now, a.more})
	}
	return counted > 0 || a.more > 0
}

// judge tells of a spike that begins, and notes the end of one. turned says that
// it did either.
func (c *crowdsec) judge(ctx context.Context, env *Env, now time.Time) (turned bool, err error) {
	old := func(at time.Time) bool { return now.Sub(at) >= time.Duration(c.Window) }
	c.recent = slices.DeleteFunc(c.recent, func(d decision) bool { return old(d.At) })
	c.beyond = slices.DeleteFunc(c.beyond, func(a arrival) bool { return old(a.at) })
	n := len(c.recent)
	for _, a := range c.beyond {
		n += a.n
	}
	switch {
	case n > c.Threshold && c.state.Spike:
		c.calm = time.Time{}
		return false, nil
	case n > c.Threshold:
		c.state.Spike, c.calm = true, time.Time{}
		c.state.Pending, c.state.Time = c.describe(n), now.UTC()
		c.state.ID = c.id(now)
		// Remembered first: whatever happens now, the spike is told once.
		if err := c.save(ctx, env); err != nil {
			return false, err
		}
		return true, c.tellPending(ctx, env)
	case !c.state.Spike:
		return false, nil
	case c.calm.IsZero():
		c.calm = now
	case old(c.calm):
		c.state.Spike = false
		return true, nil
	}
	return false, nil
}

// tellPending records the event that was to be recorded.
func (c *crowdsec) tellPending(ctx context.Context, env *Env) error {
	if c.state.Pending == nil {
		return nil
	}
	err := tell(ctx, env, finding{
		producer: "crowdsec", t: "crowdsec_spike", severity: event.Warn, subject: "host/" + env.Host,
		id: c.state.ID, at: c.state.Time, data: c.state.Pending,
	})
	if err != nil {
		return err
	}
	c.state.Pending = nil
	return c.save(ctx, env)
}

func (c *crowdsec) save(ctx context.Context, env *Env) error {
	s := c.state
	if !s.Spike { // in a spike, what came before counts for nothing any more
		s.Recent = c.recent[max(0, len(c.recent)-mostStored):]
	}
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("crowdsec: %w", err)
	}
	c.noted = c.state.Polled
	return env.Memory.Store(ctx, "state", string(text))
}

// describe is the data of an event about n decisions.
func (c *crowdsec) describe(n int) map[string]any {
	scenarios, addresses := map[string]int{}, map[string]int{}
	for _, d := range c.recent {
		scenarios[d.Scenario]++
		addresses[d.Value]++
	}
	return map[string]any{
		"decisions": n, "threshold": c.Threshold, "window": c.Window.String(),
		"top_scenarios": top(scenarios, "name"), "top_addresses": top(addresses, "address"),
	}
}

// id is made of the moment and of what arrived last.
func (c *crowdsec) id(now time.Time) event.ID {
	last := ""
	if n := len(c.recent); n > 0 {
		last = c.recent[n-1].key()
	}
	sum := sha256.Sum256([]byte("crowdsec_spike\n" + now.UTC().Format(time.RFC3339Nano) + "\n" + last))
	return event.ID(hex.EncodeToString(sum[:16]))
}

func (d *decision) key() string {
	return strconv.FormatInt(d.ID, 10) + " " + d.Value + " " + d.Scenario
}

// top is a list of the commonest names with their counts, the commonest first.
func top(counts map[string]int, name string) []map[string]any {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	list := make([]map[string]any, 0, topOf)
	for _, n := range names[:min(len(names), topOf)] {
		list = append(list, map[string]any{name: n, "count": counts[n]})
	}
	return list
}
