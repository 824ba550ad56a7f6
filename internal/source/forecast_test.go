package source

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// past is a history whose outcome is known.
type past struct {
	scenario string
	kinds    []string // of forecasts that are right; none of a healthy job
	runs     []run
	onset    time.Time // from when on a forecast is right
	doom     time.Time // until when it must have come
}

// generator makes histories by chance.
type generator struct {
	*rand.Rand
	at       time.Time
	every    time.Duration
	weekdays bool
	middle   float64 // seconds
	noise    float64
	bytes    float64
	spread   float64
	free     float64
	flaws    float64 // share of failures of a healthy job
}

func newGenerator(r *rand.Rand) *generator {
	g := &generator{
		Rand: r, at: time.Date(2026, 1, 5, r.IntN(24), r.IntN(60), 0, 0, time.UTC).AddDate(0, 0, r.IntN(7)), every: []time.Duration{6 * time.Hour, 12 * time.Hour, 24 * time.Hour}[min(r.IntN(5), 2)],
		noise: 0.05 + 0.25*r.Float64(), bytes: math.Exp(18 + 6*r.Float64()), spread: 0.1 + 0.6*r.Float64(), flaws: 0.015 * r.Float64(),
	}
	g.weekdays = r.IntN(3) == 0
	g.middle, g.free = g.every.Seconds()*(0.01+0.2*r.Float64()), g.bytes*(150+200*r.Float64())
	return g
}

// next is a run as it should be.
func (g *generator) next() run {
	g.at = g.at.Add(g.every)
	for g.weekdays && (g.at.Weekday() == time.Saturday || g.at.Weekday() == time.Sunday) {
		g.at = g.at.Add(g.every)
	}
	r := run{at: g.at.Add(time.Duration(g.NormFloat64() * 60e9)), ok: true, bytes: g.bytes * math.Exp(g.spread*g.NormFloat64()), duration: g.middle * math.Exp(g.noise*g.NormFloat64()), free: g.free}
	if g.Float64() < g.flaws {
		r.ok, r.fault = false, fmt.Sprint("fault ", 'a'+g.IntN(20))
	}
	return r
}

// healthy runs a job for a while: sizes and durations vary, old backups are
// removed now and then, the space wanders.
func (g *generator) healthy(n int) (runs []run) {
	prune, low := 3+g.IntN(8), g.free
	for i := range n {
		r := g.next()
		g.free -= r.bytes
		if i%prune == prune-1 {
			g.free = low * (1 + 0.02*g.NormFloat64())
		}
		r.free = g.free
		runs = append(runs, r)
	}
	return runs
}

func (g *generator) fails(r run, fault string) run {
	r.ok, r.fault, r.bytes = false, fault, unknown
	return r
}

// scenarios are what may become of a job. Each gets a healthy history of at least
// ten days.
func (g *generator) scenario(name string) past {
	if name == "shrinking" {
		g.spread = min(g.spread, 0.4)
	}
	p := past{scenario: name, runs: g.healthy(max(24, int(12*24*time.Hour/g.every)))}
	p.onset = p.runs[len(p.runs)-1].at
	add := func(r run) { p.runs = append(p.runs, r); p.doom = r.at }
	switch name {
	case "healthy":
		p.runs = append(p.runs, g.healthy(40)...)
	case "levels off": // the duration doubles, and then grows no more
		for i := range 40 {
			g.middle *= 1 + 0.08*max(0, 1-float64(i)/12)
			p.runs = append(p.runs, g.healthy(1)...)
		}
	case "growing":
		p.kinds = []string{noSpace}
		g.free = g.bytes * (10 + 20*g.Float64())
		for rate := 1 + 0.03*g.Float64(); ; g.bytes *= rate {
			r := g.next()
			if r.bytes > g.free {
				add(g.fails(r, "28 no space left on device"))
				return p
			}
			g.free -= r.bytes
			r.free = g.free
			add(r)
		}
	case "window":
		p.kinds = []string{tooLong}
		for rate := 1.02 + 0.06*g.Float64(); ; g.middle *= rate {
			r := g.next()
			if r.duration > g.every.Seconds() {
				add(g.fails(r, "124 timeout"))
				return p
			}
			add(r)
		}
	case "dying disk":
		p.kinds = []string{failing}
		for i, failed := 0, 0; failed < 5; i++ {
			r := g.next()
			if g.Float64() < min(0.05+0.04*float64(i), 0.95) {
				r, failed = g.fails(r, []string{"5 input output error", "5 input output error", "1 checksum"}[g.IntN(3)]), failed+1
			}
			add(r)
		}
	case "flapping":
		p.kinds = []string{failing}
		for i := range 10 {
			r := g.next()
			if i%2 == 1 {
				r = g.fails(r, "1 connection refused")
			}
			add(r)
		}
	case "stopped":
		p.kinds = []string{overdue}
		tolerated := 2 * g.every
		if g.weekdays {
			tolerated = 5 * 24 * time.Hour
		}
		p.doom = p.onset.Add(tolerated)
	case "shrinking":
		p.kinds = []string{shrunk}
		g.bytes *= 0.01 + 0.04*g.Float64()
		for range 3 + g.IntN(3) {
			add(g.next())
		}
		add(g.fails(g.next(), "1 source is empty"))
	}
	return p
}

// warnings plays a history, with looks between the runs, and gives the kinds and
// times of what is told.
func warnings(t *testing.T, p *past) (kinds []string, times []time.Time) {
	t.Helper()
	s, err := newForecast(forecastOptions{Enabled: true, Interval: 3e11, Probability: 0.7})
	if err != nil {
		t.Fatal(err)
	}
	f, r, j := s.(*forecast), newRecorder(map[string]string{}), &job{host: "web-17", name: "nightly", free: unknown}
	var now time.Time
	r.Emit = func(_ context.Context, events ...event.Event) error {
		for _, e := range events {
			var d struct{ Forecast string }
			if err := json.Unmarshal(e.Data, &d); err != nil {
				return err
			}
			kinds, times = append(kinds, d.Forecast), append(times, now)
		}
		return nil
	}
	look := func(at time.Time) {
		now = at
		if err := f.tell(t.Context(), &r.Env, "web-17/nightly", j, now); err != nil {
			t.Fatal(err)
		}
	}
	for i, run := range p.runs {
		j.add(run)
		look(run.at)
		if i+1 < len(p.runs) {
			for _, part := range []time.Duration{3, 2, 1} {
				look(run.at.Add((p.runs[i+1].at.Sub(run.at) - time.Second) / part))
			}
		}
	}
	for p.scenario == "stopped" && now.Before(p.doom) {
		look(now.Add(time.Hour))
	}
	return kinds, times
}

// Thousands of jobs with known outcomes: a forecast is right when the job does
// fail of that, and it comes before.
func TestForecastJudged(t *testing.T) {
	const each = 250
	var told, right, doomed, foreseen int
	for _, name := range []string{"healthy", "healthy ", "levels off", "growing", "window", "dying disk", "flapping", "stopped", "shrinking"} {
		var tellings, hits, found int
		lead := 0.0
		for n := range each {
			g := newGenerator(rand.New(rand.NewPCG(7, uint64(n)*16+uint64(len(name)))))
			p := g.scenario(strings.TrimSpace(name))
			kinds, times := warnings(t, &p)
			tellings += len(kinds)
			ok := false
			for i, kind := range kinds {
				if slices.Contains(p.kinds, kind) && !times[i].Before(p.onset) && times[i].Before(p.doom) {
					hits++
					lead += p.doom.Sub(times[i]).Hours() / g.every.Hours()
					ok = true
				}
			}
			if ok {
				found++
			}
		}
		line := fmt.Sprintf("%-10s %4d jobs: %4d forecasts, %4d right", strings.TrimSpace(name), each, tellings, hits)
		if hits > 0 {
			line += fmt.Sprintf(", recall %.3f, %.1f runs before", float64(found)/each, lead/float64(hits))
			doomed, foreseen = doomed+each, foreseen+found
		} else if !strings.HasPrefix(name, "healthy") && name != "levels off" {
			t.Errorf("%s is never foreseen", name)
		}
		t.Log(line)
		told, right = told+tellings, right+hits
	}
	precision, recall := float64(right)/float64(told), float64(foreseen)/float64(doomed)
	t.Logf("precision %.3f, recall %.3f of %d jobs", precision, recall, 9*each)
	if precision < 0.9 || recall < 0.8 {
		t.Errorf("precision %.3f and recall %.3f; at least 0.9 and 0.8 are wanted", precision, recall)
	}
}
