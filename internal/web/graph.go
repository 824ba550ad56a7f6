package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// graph is events over time, a bar for each step, stacked by severity or type.
type graph struct {
	Width, Height      int
	Label              string
	First, Step, Until int64 // milliseconds since 1970
	From               time.Time
	Bars               []bar
	Spikes             []spike
	Legend             []legendEntry
	Most, Total        int64
}

type bar struct {
	X, Y, W, H   float64
	Class, Title string
}

// spike is a bar that stands out.
type spike struct {
	X, W              float64
	Title, When, Href string
}

type legendEntry struct {
	Class, Text string
	Count       int64
}

const (
	barWidth  = 10
	barHeight = 90
	barTop    = 6 // room for the marks of spikes
	series    = 6 // types with a colour of their own
)

// graphStep gives a graph at most some sixty bars.
func graphStep(d time.Duration) time.Duration {
	if d >= 20*time.Hour && d <= 62*time.Hour {
		return time.Hour // whole hours are what rollups know
	}
	for _, step := range []time.Duration{
		time.Second, 5 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 12 * time.Hour, 24 * time.Hour,
	} {
		if d/step <= 62 {
			return step
		}
	}
	const week = 7 * 24 * time.Hour
	step := week
	for d/step > 62 {
		step += week
	}
	return step
}

// drawGraph lays out counts between two instants.
func drawGraph(c *segment.Counts, from, until time.Time, step time.Duration, by segment.By) *graph {
	sums := map[string]int64{}
	at := map[int64]map[string]int64{}
	for _, b := range c.Buckets {
		at[b.Start] = b.Counts
		for key, n := range b.Counts {
			sums[key] += n
		}
	}
	g := &graph{Height: barHeight, From: from, Step: step.Milliseconds(), Until: until.UnixMilli()}
	classOf, order := g.legend(sums, by)
	first := floorTo(from.UnixNano(), int64(step))
	g.First = first / int64(time.Millisecond)
	totals := []int64{}
	for start := first; start < until.UnixNano(); start += int64(step) {
		var sum int64
		for _, n := range at[start] {
			sum += n
		}
		totals = append(totals, sum)
		g.Most, g.Total = max(g.Most, sum), g.Total+sum
	}
	for i := range totals {
		start := first + int64(i)*int64(step)
		g.stack(i, start, at[start], classOf, order)
	}
	g.Width = max(len(totals), 1) * barWidth
	g.Label = fmt.Sprintf("%d events over time, a bar for each %s; drag over it to look closer", g.Total, event.FormatDuration(step))
	g.mark(totals, first, step)
	return g
}

// legend gives each key its colour, the most important ones first.
func (g *graph) legend(sums map[string]int64, by segment.By) (classOf map[string]string, order []string) {
	classOf = map[string]string{}
	if by == segment.BySeverity {
		for _, sev := range event.Severities() {
			classOf[sev.String()] = "sev-" + sev.String()
			order = append(order, sev.String())
		}
		classOf[""] = "series-rest"
		order = append(order, "")
		for _, name := range slices.Backward(order) {
			if sums[name] > 0 {
				g.Legend = append(g.Legend, legendEntry{classOf[name], cmp.Or(name, "none"), sums[name]})
			}
		}
		return classOf, order
	}
	order = slices.SortedFunc(maps.Keys(sums), func(a, b string) int { return cmp.Or(cmp.Compare(sums[b], sums[a]), cmp.Compare(a, b)) })
	var rest int64
	for i, name := range order {
		if i < series {
			classOf[name] = fmt.Sprintf("series-%d", i)
			g.Legend = append(g.Legend, legendEntry{classOf[name], plain(name), sums[name]})
			continue
		}
		classOf[name] = "series-rest"
		rest += sums[name]
	}
	if rest > 0 {
		g.Legend = append(g.Legend, legendEntry{"series-rest", fmt.Sprintf("%d others", len(order)-series), rest})
	}
	return classOf, order
}

// stack draws one bar, its parts in a fixed order from the ground up.
func (g *graph) stack(i int, start int64, counts map[string]int64, classOf map[string]string, order []string) {
	when := time.Unix(0, start).UTC().Format("2006-01-02 15:04:05 MST")
	byClass := map[string]int64{}
	var classes []string
	for _, name := range order {
		if n := counts[name]; n > 0 {
			class := classOf[name]
			if byClass[class] == 0 {
				classes = append(classes, class)
			}
			byClass[class] += n
		}
	}
	y := float64(barHeight)
	for _, class := range classes {
		n := byClass[class]
		h := max(float64(n)/float64(g.Most)*(barHeight-barTop-2), 1.5)
		y -= h
		name := class
		for _, l := range g.Legend {
			if l.Class == class {
				name = l.Text
			}
		}
		g.Bars = append(g.Bars, bar{X: float64(i*barWidth) + 1, Y: y, W: barWidth - 2, H: h, Class: class, Title: fmt.Sprintf("%s: %d %s", when, n, name)})
	}
}

// A spike is a bar of at least spikeLeast events, twice the median, and the
// median with spikeTimes the median deviation from it.
const (
	spikeLeast = 10
	spikeTimes = 8
	spikesMost = 3
)

func middle(list []int64) int64 { return slices.Sorted(slices.Values(list))[len(list)/2] }

// mark finds the highest bars that stand out.
func (g *graph) mark(totals []int64, first int64, step time.Duration) {
	if len(totals) < 8 {
		return // too few to say what is usual
	}
	median := middle(totals)
	deviations := make([]int64, len(totals))
	for i, n := range totals {
		deviations[i] = max(n-median, median-n)
	}
	least := max(spikeLeast, 2*median, median+spikeTimes*middle(deviations))
	order := make([]int, 0, len(totals))
	for i, n := range totals {
		if n >= least {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(totals[b], totals[a]) })
	order = order[:min(len(order), spikesMost)]
	slices.Sort(order)
	for _, i := range order {
		start := time.Unix(0, first+int64(i)*int64(step)).UTC()
		when := start.Format("2006-01-02 15:04 MST")
		g.Spikes = append(g.Spikes, spike{
			X: float64(i*barWidth) + 1, W: barWidth - 2, When: when,
			Title: fmt.Sprintf("Spike at %s: %d events, where %d are usual", when, totals[i], median),
			Href:  "since=" + start.Format(time.RFC3339) + "&until=" + start.Add(step).Format(time.RFC3339),
		})
	}
}

// sparkline is a small line of counts.
type sparkline struct {
	Width       int
	Path, Label string
}

func drawSparkline(counts []int64) sparkline {
	const step, height = 4, 14
	s := sparkline{Width: max(len(counts)-1, 1) * step}
	most := max(slices.Max(append(counts, 0)), 1)
	var total int64
	for i, n := range counts {
		total += n
		command := 'L'
		if i == 0 {
			command = 'M'
		}
		s.Path += fmt.Sprintf("%c%d %.1f", command, i*step, 1+float64(height)*(1-float64(n)/float64(most)))
	}
	s.Label = fmt.Sprintf("%d events in the last 24 hours", total)
	return s
}
