package source

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: each domain's registry is asked by RDAP (RFC 9082, RFC 9083) at every
// interval, one request at a time; between two answers the end of the
// registration that was told last counts.
// Makes: domain_registrar_expiry, once for each warning time that is reached, and
// once when the registration has ended; anew when it was renewed since.
// Leaves out: domains below top-level domains without RDAP.
func init() {
	const day = config.Duration(24 * time.Hour)
	register("domain_registrar_expiry", "Registrations of domains that end soon, by RDAP.", registrarOptions{
		Enabled: true, Interval: day, Before: []config.Duration{30 * day, 14 * day, 7 * day, 3 * day, day},
		Bootstrap: defaultBootstrap,
	}, newRegistrar)
}

type registrarOptions struct {
	Enabled   bool              `yaml:"enabled" doc:"Whether registries are asked."`
	Domains   []string          `yaml:"domains" doc:"The domains, as they are registered: example.org, not www.example.org."`
	Before    []config.Duration `yaml:"before" doc:"Times before the end at which one is told."`
	Interval  config.Duration   `yaml:"interval" doc:"How often the registry is asked about a domain; at least 1h."`
	Bootstrap string            `yaml:"bootstrap" doc:"URL or file of IANA's list of RDAP servers (RFC 9224)."`
	Server    string            `yaml:"server" doc:"URL of the RDAP server to ask in place of those of the list."`
}

const (
	requestGap   = 2 * time.Second    // between two requests
	longestPause = 7 * 24 * time.Hour // after errors, unless the interval is longer
	longestRetry = 30 * 24 * time.Hour
	longestSleep = time.Hour // so that a clock that is set is noticed
)

type registrar struct {
	registrarOptions
	rdap rdapClient
}

func newRegistrar(o registrarOptions) (Source, error) {
	if time.Duration(o.Interval) < time.Hour {
		return nil, event.Invalidf("interval: %s is shorter than 1h", o.Interval)
	}
	var err error
	domains := make([]string, len(o.Domains))
	for i, name := range o.Domains {
		if domains[i], err = idna.Lookup.ToASCII(strings.TrimSuffix(strings.ToLower(strings.TrimSpace(name)), ".")); err != nil || !strings.Contains(domains[i], ".") {
			return nil, event.Invalidf("domains: %q is not a domain such as example.org", name)
		}
	}
	slices.Sort(domains)
	o.Domains = slices.Compact(domains)
	o.Before = slices.Clone(o.Before)
	slices.Sort(o.Before)
	if len(o.Before) == 0 || o.Before[0] <= 0 {
		return nil, event.Invalidf("before: give at least one time, each longer than 0s")
	}
	r := &registrar{registrarOptions: o, rdap: rdapClient{bootstrap: o.Bootstrap}}
	if o.Server != "" {
		if r.rdap.server, err = url.Parse(o.Server); err != nil || r.rdap.server.Host == "" || !isWeb(o.Server) {
			return nil, event.Invalidf("server: %q is not an http or https URL", o.Server)
		}
	}
	if o.Bootstrap == "" && o.Server == "" {
		return nil, event.Invalidf("bootstrap: name a URL or a file, or give server")
	}
	return r, nil
}

func isWeb(text string) bool {
	return strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "http://")
}

// registration is what is remembered of a domain.
type registration struct {
	Expires   time.Time `json:"expires,omitzero"` // zero while it is not known
	Registrar string    `json:"registrar,omitempty"`
	Server    string    `json:"server,omitempty"`

	Next    time.Time `json:"next,omitzero"`     // when the registry may be asked again
	Errors  int       `json:"errors,omitempty"`  // in a row
	Problem string    `json:"problem,omitempty"` // the last of them

	Told    time.Duration `json:"told,omitempty"`    // the most urgent warning time that was told, or expiredStage
	ToldFor time.Time     `json:"told_for,omitzero"` // the end that it was told of
}

// Warning times beside those of the options. Smaller ones are more urgent.
const (
	expiredStage = time.Duration(-1)
	noStage      = time.Duration(math.MaxInt64)
)

// Run implements Source.
func (r *registrar) Run(ctx context.Context, env *Env) error {
	if len(r.Domains) == 0 {
		env.Status(Idle, "no domain to watch: name some in sources.domain_registrar_expiry.domains")
		<-ctx.Done()
		return nil
	}
	for {
		next, err := r.look(ctx, env, time.Now().UTC())
		if err != nil && ctx.Err() == nil {
			return err
		}
		wait := time.NewTimer(min(max(time.Until(next), requestGap), longestSleep))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil
		}
	}
}

// look asks about the one domain that waits longest, if one may be asked about,
// tells what there is to tell, and says when to look again.
func (r *registrar) look(ctx context.Context, env *Env, now time.Time) (next time.Time, err error) {
	known := make([]registration, len(r.Domains))
	first := 0
	for i, name := range r.Domains {
		if known[i], err = load(ctx, env, name); err != nil {
			return now, err
		}
		if known[i].Next.After(now.Add(max(longestRetry, time.Duration(r.Interval)))) {
			known[i].Next = now // the clock was set back
		}
		if known[i].Next.Before(known[first].Next) {
			first = i
		}
	}
	if !known[first].Next.After(now) {
		if err := r.ask(ctx, env, r.Domains[first], &known[first], now); err != nil {
			return now, err
		}
	}
	next = now.Add(longestSleep)
	var problems []error
	for i, name := range r.Domains {
		k := &known[i]
		if err := r.judge(ctx, env, name, k, now); err != nil {
			return now, err
		}
		if k.Problem != "" {
			problems = append(problems, fmt.Errorf("%s: %s", name, k.Problem))
		}
		next = earliest(next, k.Next)
		if stage := r.nextStage(k.Expires.Sub(now)); stage != noStage {
			next = earliest(next, k.Expires.Add(-stage))
		}
	}
	env.Problem(errors.Join(problems...))
	if len(problems) == len(known) {
		env.Status(Unavailable, problems[0].Error())
	} else {
		env.Status(Running, "")
	}
	return next, nil
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func load(ctx context.Context, env *Env, name string) (k registration, err error) {
	text, err := env.Memory.Load(ctx, name)
	if err != nil || text == "" {
		return registration{Told: noStage}, err
	}
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		return registration{Told: noStage}, fmt.Errorf("what was known of %s can't be read: %w", name, err)
	}
	return k, nil
}

func store(ctx context.Context, env *Env, name string, k *registration) error {
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return env.Memory.Store(ctx, name, string(text))
}

// ask asks the registry. An error is one of the memory; what goes wrong with the
// registry is remembered, and leaves what was known before.
func (r *registrar) ask(ctx context.Context, env *Env, name string, k *registration, now time.Time) error {
	// Written first: whatever happens, the registry is not asked more often.
	k.Next = now.Add(time.Duration(r.Interval))
	if err := store(ctx, env, name, k); err != nil {
		return err
	}
	quiet, got, err := r.rdap.domain(ctx, env, name, now)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		if k.Errors++; k.Problem == "" { // said once
			env.Log.WarnContext(ctx, "the registry tells nothing of a domain", "domain", name, "err", err)
		}
		k.Problem = err.Error()
		pause := time.Duration(r.Interval) << min(k.Errors-1, 8)
		k.Next = now.Add(max(time.Duration(r.Interval), min(pause, longestPause)))
		if quiet.After(k.Next) {
			k.Next = earliest(quiet, now.Add(longestRetry))
		}
		return store(ctx, env, name, k)
	}
	if k.Problem != "" {
		env.Log.InfoContext(ctx, "the registry tells of the domain again", "domain", name)
	}
	k.Expires, k.Registrar, k.Server, k.Errors, k.Problem = got.Expires, got.Registrar, got.Server, 0, ""
	return store(ctx, env, name, k)
}

// stage is the shortest warning time that is reached.
func (r *registrar) stage(left time.Duration) time.Duration {
	if left <= 0 {
		return expiredStage
	}
	for _, b := range r.Before { // ascending
		if left <= time.Duration(b) {
			return time.Duration(b)
		}
	}
	return noStage
}

// nextStage is the warning time that comes next, 0 for the end itself.
func (r *registrar) nextStage(left time.Duration) time.Duration {
	if left <= 0 {
		return noStage
	}
	for _, b := range slices.Backward(r.Before) {
		if time.Duration(b) < left {
			return time.Duration(b)
		}
	}
	return 0
}

// judge tells of a domain when a warning time is reached that was not told.
func (r *registrar) judge(ctx context.Context, env *Env, name string, k *registration, now time.Time) error {
	if k.Expires.IsZero() {
		return nil
	}
	left := k.Expires.Sub(now)
	stage := r.stage(left)
	switch {
	case stage == k.Told:
		return nil
	case stage > k.Told:
		if !k.Expires.After(k.ToldFor) {
			return nil // the clock was set back, or the registry takes something back
		}
		k.Told, k.ToldFor = stage, k.Expires // renewed
		return store(ctx, env, name, k)
	}
	data, err := json.Marshal(map[string]any{
		"domain": name, "expires": k.Expires.Format(time.RFC3339), "days_left": int(math.Floor(left.Hours() / 24)),
		"expired": stage == expiredStage, "registrar": cmp.Or(k.Registrar, "unknown"), "rdap_server": k.Server,
	})
	if err != nil {
		return err
	}
	severity := event.Warn
	if left <= 24*time.Hour {
		severity = event.Error
	}
	if err := env.Emit(ctx, newEvent(env, "registrar", "domain_registrar_expiry", severity, "domain/"+name, data)); err != nil {
		return err
	}
	k.Told, k.ToldFor = stage, k.Expires
	return store(ctx, env, name, k)
}
