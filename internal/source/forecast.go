package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: the journal's backup_succeeded, backup_failed and disk_full of the
// last 90 days, once at the start; then at every interval what is new.
// Makes: backup_future_warnings, once for each job and kind of forecast until it
// is over; docs/forecast.md says how it decides.
// Leaves out: jobs of which fewer than eight runs are known.
func init() {
	register("backup_future_warnings", "Backups that will probably fail, foreseen from the history of each job as docs/forecast.md says.", forecastOptions{
		Enabled: true, Interval: config.Duration(5 * time.Minute), Probability: 0.7,
	}, newForecast)
}

type forecastOptions struct {
	Enabled     bool            `yaml:"enabled" doc:"Whether backups are forecast."`
	Interval    config.Duration `yaml:"interval" doc:"How often; at least 1m."`
	Probability float64         `yaml:"probability" doc:"How sure a forecast must be, above 0 and at most 1."`
	Targets     []string        `yaml:"targets" doc:"Where jobs write to, each as name=/path; without it, free space is known only where the event has free_bytes."`
	Windows     []string        `yaml:"windows" doc:"How long jobs may take, each as name=4h; without it, until the next run is due."`
}

const (
	historyDays = 90
	maxJobs     = 2000
	calmRuns    = 5 // successful ones after which a forecast that held no more is over
)

type forecast struct {
	forecastOptions
	targets map[string]string
	windows map[string]time.Duration
	statfs  func(path string) (used, limit int64, err error)

	jobs map[string]*job
	seen event.Seq
}

func newForecast(o forecastOptions) (Source, error) {
	switch {
	case time.Duration(o.Interval) < time.Minute:
		return nil, event.Invalidf("interval: %s is shorter than 1m", o.Interval)
	case !(o.Probability > 0 && o.Probability <= 1):
		return nil, event.Invalidf("probability: %g is not above 0 and at most 1", o.Probability)
	}
	f := &forecast{forecastOptions: o, targets: map[string]string{}, windows: map[string]time.Duration{}, statfs: measure}
	for _, t := range o.Targets {
		name, path, ok := strings.Cut(t, "=")
		if !ok || name == "" || !filepath.IsAbs(path) {
			return nil, event.Invalidf("targets: %q has another form than name=/path", t)
		}
		f.targets[name] = filepath.Clean(path)
	}
	for _, w := range o.Windows {
		name, text, _ := strings.Cut(w, "=")
		d, err := event.ParseDuration(text)
		if name == "" || err != nil || d <= 0 {
			return nil, event.Invalidf("windows: %q has another form than name=4h", w)
		}
		f.windows[name] = d
	}
	return f, nil
}

// Run implements Source.
func (f *forecast) Run(ctx context.Context, env *Env) error {
	if env.History == nil {
		return errors.New("there is no journal to read")
	}
	f.jobs, f.seen = map[string]*job{}, 0 // started anew: read anew
	tick := time.NewTicker(time.Duration(f.Interval))
	defer tick.Stop()
	for {
		if err := f.look(ctx, env, time.Now().UTC()); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look reads what is new and tells what there is to tell.
func (f *forecast) look(ctx context.Context, env *Env, now time.Time) error {
	last, err := env.History.Each(ctx, []event.Type{"backup_succeeded", "backup_failed", "disk_full"}, f.seen, now.AddDate(0, 0, -historyDays), func(e *event.Event) error {
		f.take(e, now)
		return nil
	})
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	f.seen = last
	f.forget(now)
	for _, key := range slices.Sorted(maps.Keys(f.jobs)) {
		j := f.jobs[key]
		if path := f.targets[j.name]; path != "" && j.host == env.Host {
			if used, limit, err := f.statfs(path); err == nil {
				j.measured(limit - used)
			}
		}
		if err := f.tell(ctx, env, key, j, now); err != nil {
			return err
		}
	}
	if len(f.jobs) == 0 {
		env.Status(Idle, "no backup is known: run them under tocsin run --kind backup")
		return nil
	}
	env.Status(Running, "")
	return nil
}

// take remembers what an event says. What can't be read is passed over: others
// than tocsin run may write these types, too.
func (f *forecast) take(e *event.Event, now time.Time) {
	if e.Time.After(now.Add(time.Hour)) {
		return // of a clock that is wrong
	}
	var d struct {
		Name     string   `json:"name"`
		Duration float64  `json:"duration_ms"`
		Bytes    *float64 `json:"bytes"`
		Free     *float64 `json:"free_bytes"`
		Error    string   `json:"error"`
		Status   float64  `json:"exit_status"`
		Path     string   `json:"path"`
		Used     float64  `json:"used_bytes"`
		Limit    float64  `json:"limit_bytes"`
	}
	if json.Unmarshal(e.Data, &d) != nil {
		return
	}
	if e.Type == "disk_full" {
		f.full(e.Host, d.Path, d.Limit-d.Used)
		return
	}
	if d.Name == "" {
		return
	}
	key := e.Host + "/" + d.Name
	j := f.jobs[key]
	if j == nil {
		j = &job{host: e.Host, name: d.Name, window: f.windows[d.Name], free: unknown}
		f.jobs[key] = j
	}
	r := run{at: e.Time, ok: e.Type == "backup_succeeded", duration: max(d.Duration, 0) / 1000, bytes: unknown, free: unknown}
	if d.Bytes != nil {
		r.bytes = max(*d.Bytes, 0)
	}
	if d.Free != nil {
		r.free = max(*d.Free, 0)
	}
	if !r.ok {
		r.fault = fault(d.Error, int(d.Status))
	}
	j.add(r)
}

// full takes the free space of a file system for that of the targets on it.
func (f *forecast) full(host, path string, free float64) {
	for _, j := range f.jobs {
		target := f.targets[j.name]
		if j.host == host && target != "" && (target == path || strings.HasPrefix(target, strings.TrimSuffix(path, "/")+"/")) {
			j.measured(int64(free))
		}
	}
}

// forget drops jobs that are no more, and the stalest where there are too many.
func (f *forecast) forget(now time.Time) {
	maps.DeleteFunc(f.jobs, func(_ string, j *job) bool { return j.last().at.Before(now.AddDate(0, 0, -historyDays)) })
	if len(f.jobs) <= maxJobs {
		return
	}
	keys := slices.SortedFunc(maps.Keys(f.jobs), func(a, b string) int { return f.jobs[a].last().at.Compare(f.jobs[b].last().at) })
	for _, key := range keys[:len(keys)-maxJobs] {
		delete(f.jobs, key)
	}
}

// tell tells of a job what was not told. A forecast is over when it has not held
// during some successful runs.
func (f *forecast) tell(ctx context.Context, env *Env, key string, j *job, now time.Time) error {
	text, err := env.Memory.Load(ctx, key)
	if err != nil {
		return err
	}
	held := map[string]time.Time{} // kinds that were told, with the run after which they held last
	if text != "" {
		if err := json.Unmarshal([]byte(text), &held); err != nil {
			return fmt.Errorf("what was told of %s can't be read: %w", key, err)
		}
	}
	before := maps.Clone(held)
	last := j.last().at
	for _, p := range j.foresee(now) {
		_, told := held[p.kind]
		if !told && p.probability < f.Probability {
			continue
		}
		if !told {
			if err := env.Emit(ctx, p.event(env, j)); err != nil {
				return err
			}
		}
		held[p.kind] = last
	}
	maps.DeleteFunc(held, func(kind string, at time.Time) bool {
		return j.successesSince(at) >= calmRuns || kind == overdue && last.After(at)
	})
	if maps.Equal(before, held) {
		return nil
	}
	raw, err := json.Marshal(held)
	if err != nil {
		return err
	}
	return env.Memory.Store(ctx, key, string(raw))
}

func (p *prediction) event(env *Env, j *job) event.Event {
	data, err := json.Marshal(map[string]any{
		"name": j.name, "forecast": p.kind, "prediction": predictions[p.kind], "reason": p.reason,
		"probability": math.Round(p.probability*100) / 100, "by": p.by.UTC().Format(time.RFC3339), "evidence": p.evidence,
	})
	if err != nil {
		data = []byte(`{}`) // figures are finite: see number
	}
	e := newEvent(env, "forecast", "backup_future_warnings", event.Warn, "backup/"+j.name, data)
	if j.host != "" {
		e.Host = j.host
	}
	return e
}
