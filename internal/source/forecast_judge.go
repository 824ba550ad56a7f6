package source

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// The kinds of forecast.
const (
	noSpace = "no_space"
	tooLong = "too_long"
	overdue = "overdue"
	failing = "failing"
	shrunk  = "shrunk"
)

var predictions = map[string]string{ //nolint:gochecknoglobals // a constant table
	noSpace: "the target runs out of space",
	tooLong: "it will not end in time",
	overdue: "it does not run any more",
	failing: "it fails again",
	shrunk:  "it saves only a part, or nothing",
}

// prediction is one forecast about a job.
type prediction struct {
	kind        string
	reason      string
	probability float64
	by          time.Time
	evidence    map[string]any
}

const (
	leastRuns = 8  // of which a trend is made
	trendRuns = 20 // that a trend looks at
	ahead     = 3  // runs that are foreseen
)

// foresee tells what will probably go wrong with a job's coming runs.
func (j *job) foresee(now time.Time) []prediction {
	if len(j.runs) < leastRuns {
		return nil
	}
	usual, most := j.gap()
	if usual <= 0 {
		return nil
	}
	if !j.judged {
		j.judged, j.outlook, j.space = true, nil, j.spaceOf()
		for _, rule := range []func(time.Duration) *prediction{j.failing, j.tooLong, j.shrunk} {
			if p := rule(usual); p != nil {
				j.outlook = append(j.outlook, *p)
			}
		}
	}
	all := slices.Clone(j.outlook)
	if p := j.noSpace(usual); p != nil {
		all = append(all, *p)
	}
	if p := j.overdue(usual, most, now); p != nil {
		all = append(all, *p)
	}
	return all
}

// failing: the last runs failed in the same way, or many of the last eight did.
func (j *job) failing(usual time.Duration) *prediction {
	same, failed := 0, 0
	last := j.last()
	for _, r := range slices.Backward(j.runs) {
		if last.ok || r.fault != last.fault {
			break
		}
		same++
	}
	for _, r := range j.runs[len(j.runs)-leastRuns:] {
		if !r.ok {
			failed++
		}
	}
	p := prediction{kind: failing, by: last.at.Add(usual), evidence: map[string]any{"same_error": same, "failed_of_last_8": failed}}
	switch {
	case same >= 2:
		p.probability = float64(same+1) / float64(same+2) // rule of succession
		p.reason = fmt.Sprintf("the last %d runs failed with the same error", same)
	case failed >= 3:
		each := float64(failed+1) / (leastRuns + 2)
		p.probability, p.by = 1-math.Pow(1-each, ahead), last.at.Add(ahead*usual)
		p.reason = fmt.Sprintf("%d of the last %d runs failed", failed, leastRuns)
	default:
		return nil
	}
	return &p
}

// tooLong: the durations grow, and in a few runs reach the window or the next
// run. They grow and vary by factors, so it is their logarithms that are judged.
func (j *job) tooLong(usual time.Duration) *prediction {
	durations := j.series(func(r run) (float64, bool) { return math.Log(r.duration), r.ok && r.duration > 0 })
	growth, noise, ok := trend(durations)
	if !ok || growth <= 0 {
		return nil
	}
	limit := usual
	if j.window > 0 {
		limit = j.window
	}
	// The middle of the last five is two runs old; one run in ten is off by more
	// than 1.28 deviations.
	typical := median(durations[len(durations)-5:]) + 2*growth
	runs := max((math.Log(limit.Seconds())-1.28*noise-typical)/growth, 0)
	if runs > ahead {
		return nil
	}
	now := math.Exp(typical)
	return &prediction{
		kind: tooLong, probability: sure(growth, noise, len(durations)), by: j.last().at.Add(time.Duration(math.Floor(runs)+1) * usual),
		reason: fmt.Sprintf("it takes %s, %.3g %% more each time, and may take %s", length(now), 100*math.Expm1(growth), length(limit.Seconds())),
		evidence: map[string]any{
			"duration_seconds": number(now), "growth_percent_per_run": number(100 * math.Expm1(growth)), "limit_seconds": number(limit.Seconds()), "runs_left": number(runs),
		},
	}
}

// shrunk: two runs in a row saved far less than ever before.
func (j *job) shrunk(usual time.Duration) *prediction {
	sizes := j.series(func(r run) (float64, bool) { return r.bytes, r.ok && r.bytes != unknown })
	if len(sizes) < leastRuns {
		return nil
	}
	now, before := max(sizes[len(sizes)-1], sizes[len(sizes)-2]), sizes[:len(sizes)-2]
	middle := median(before)
	if middle <= 0 || now > middle/4 || now > slices.Min(before)/2 {
		return nil
	}
	logs := make([]float64, len(before))
	for i, s := range before {
		logs[i] = math.Log(s)
	}
	spread := max(spreadOf(logs), 0.05)
	score := (median(logs) - math.Log(max(now, 1))) / spread
	if score < 4 {
		return nil
	}
	return &prediction{
		kind: shrunk, probability: min(0.7+score/100, 0.95), by: j.last().at.Add(ahead * usual),
		reason:   fmt.Sprintf("the last two runs saved %s at most, where %s are usual", size(now), size(middle)),
		evidence: map[string]any{"bytes": number(now), "usual_bytes": number(middle), "deviations": number(score)},
	}
}

// space is what the runs say of the room that they need.
type space struct {
	need          float64 // bytes of the next run; 0 where that is not known
	change, noise float64 // of what is free, for each run
	falls         bool
	runs          int // of which change is made
}

func (j *job) spaceOf() (s space) {
	sizes := j.series(func(r run) (float64, bool) { return r.bytes, r.ok && r.bytes > 0 })
	if len(sizes) < leastRuns {
		return s
	}
	s.need = median(sizes[len(sizes)-5:])
	if growth, _, ok := trend(sizes); ok && growth > 0 {
		s.need += 3 * growth // the middle of five is two runs old
	}
	free := j.series(func(r run) (float64, bool) { return r.free, r.free != unknown })
	s.change, s.noise, s.falls = trend(free)
	s.falls, s.runs = s.falls && s.change < 0, len(free)
	return s
}

// noSpace: what is free falls from run to run, and what is left is not enough for
// the next few.
func (j *job) noSpace(usual time.Duration) *prediction {
	s := &j.space
	if j.free == unknown || s.need == 0 {
		return nil
	}
	p := prediction{kind: noSpace, evidence: map[string]any{"free_bytes": number(j.free), "next_bytes": number(s.need)}}
	switch {
	case s.falls:
		runs := max((j.free-s.need)/-s.change, 0)
		if runs >= ahead {
			return nil
		}
		left := math.Floor(runs) + 1 // that fit in, and the one that does not
		if j.free >= s.need {
			left++
		}
		p.probability, p.by = sure(-s.change, s.noise, s.runs), j.last().at.Add(time.Duration(left)*usual)
		p.reason = fmt.Sprintf("%s are free, %s less with each run, and the next needs %s", size(j.free), size(-s.change), size(s.need))
		p.evidence["change_per_run"] = number(s.change)
	case j.free < s.need:
		p.probability, p.by = 0.8, j.last().at.Add(usual)
		p.reason = fmt.Sprintf("%s are free, and the next run needs %s", size(j.free), size(s.need))
	default:
		return nil
	}
	return &p
}

// overdue: it has not run for much longer than it ever did not, weekends included.
func (j *job) overdue(usual, most time.Duration, now time.Time) *prediction {
	if j.last().at.Sub(j.first) < 8*24*time.Hour {
		return nil // no weekend is known
	}
	tolerated := max(usual*3/2, most+most/4, most+usual/2)
	since := now.Sub(j.last().at)
	if since <= tolerated || since > max(14*tolerated, 30*24*time.Hour) {
		return nil // or else it was given up
	}
	return &prediction{
		kind: overdue, probability: 1 - 0.25*float64(tolerated)/float64(since), by: now.Add(usual),
		reason:   fmt.Sprintf("it has not run for %s, and usually does every %s", length(since.Seconds()), length(usual.Seconds())),
		evidence: map[string]any{"last_run": j.last().at.UTC().Format(time.RFC3339), "usual_gap_seconds": number(usual.Seconds()), "longest_gap_seconds": number(most.Seconds())},
	}
}

// series are the last values of the runs that have them.
func (j *job) series(value func(run) (float64, bool)) []float64 {
	values := make([]float64, 0, trendRuns)
	for _, r := range slices.Backward(j.runs) {
		if v, ok := value(r); ok && len(values) < trendRuns {
			values = append(values, v)
		}
	}
	slices.Reverse(values)
	return values
}

// trend is the slope of a series (Theil and Sen: the median of all slopes), and
// the noise around it. ok tells whether the slope stands out.
func trend(values []float64) (slope, noise float64, ok bool) {
	n := len(values)
	if n < leastRuns {
		return 0, 0, false
	}
	slopes := make([]float64, 0, n*(n-1)/2)
	for i := range n {
		for k := i + 1; k < n; k++ {
			slopes = append(slopes, (values[k]-values[i])/float64(k-i))
		}
	}
	slope = median(slopes)
	rest := make([]float64, n)
	for i, v := range values {
		rest[i] = v - slope*float64(i)
	}
	noise = spreadOf(rest)
	return slope, noise, math.Abs(slope)*float64(n) > 3*noise
}

// sure makes a probability of how far a trend stands out of its noise.
func sure(slope, noise float64, n int) float64 {
	if noise == 0 {
		return 0.95
	}
	return min(1-0.9/(slope*float64(n)/noise), 0.95)
}

// median is the middle value, 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// spreadOf estimates the standard deviation by the median absolute deviation.
func spreadOf(values []float64) float64 {
	middle := median(values)
	off := make([]float64, len(values))
	for i, v := range values {
		off[i] = math.Abs(v - middle)
	}
	return 1.4826 * median(off)
}

// number keeps evidence readable, and within what JSON can write.
func number(v float64) float64 {
	if math.IsNaN(v) || math.Abs(v) > math.MaxInt64 {
		return 0
	}
	return math.Round(v*10) / 10
}

func length(seconds float64) string {
	d := time.Duration(min(seconds, 1e9) * float64(time.Second))
	switch {
	case d >= 48*time.Hour:
		d = d.Round(24 * time.Hour)
	case d >= time.Hour:
		d = d.Round(time.Minute)
	default:
		d = d.Round(time.Second)
	}
	return event.FormatDuration(d)
}

// size writes bytes for people.
func size(bytes float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	i := 0
	for bytes >= 1000 && i < len(units)-1 {
		bytes /= 1000
		i++
	}
	return fmt.Sprintf("%.3g %s", bytes, units[i])
}
