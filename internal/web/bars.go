package web

import (
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// bars is a graph of events over time, each bar stacked by severity.
type bars struct {
	Width, Height int
	Label         string
	Bars          []bar
}

type bar struct {
	X, Y, W, H   float64
	Class, Title string
}

const (
	barWidth  = 10
	barHeight = 80
)

// drawBars lays out the graph and counts its events.
func drawBars(c *segment.Counts, first, until int64, step time.Duration) (*bars, int64) {
	at := map[int64]map[string]int64{}
	var most, total int64
	for _, b := range c.Buckets {
		at[b.Start] = b.Counts
		var sum int64
		for _, n := range b.Counts {
			sum += n
		}
		most, total = max(most, sum), total+sum
	}
	g := &bars{Height: barHeight, Label: fmt.Sprintf("%d events over time, one bar for each %s", total, event.FormatDuration(step))}
	for start := first; start <= until; start += int64(step) {
		x, y := float64(g.Width), float64(barHeight)
		g.Width += barWidth
		when := time.Unix(0, start).UTC().Format("2006-01-02 15:04 MST")
		for _, s := range event.Severities() {
			n := at[start][s.String()]
			if n == 0 {
				continue
			}
			h := max(float64(n)/float64(most)*(barHeight-2), 1.5)
			y -= h
			g.Bars = append(g.Bars, bar{X: x + 1, Y: y, W: barWidth - 2, H: h, Class: s.String(), Title: fmt.Sprintf("%s: %d %s", when, n, s)})
		}
	}
	return g, total
}
