package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/telemetry"
)

type journalClass = segment.Class

const (
	classDefault   = segment.Default
	classLong      = segment.Long
	classShort     = segment.Short
	classTransient = segment.Transient
)

func classOf(name string) journalClass {
	for _, c := range []journalClass{classLong, classShort} {
		if c.String() == name {
			return c
		}
	}
	return classDefault
}

// observer passes the journal's commits on to the metrics.
type observer struct{ metrics *telemetry.Metrics }

func (o observer) Committed(g journal.GroupStats) {
	if g.Err == nil {
		o.metrics.Appended(g.Events, g.Took)
	}
}

// registerJournalMetrics exports what the journal knows when it is asked.
func (a *App) registerJournalMetrics() {
	gauge := func(name, help string, value func(*journal.Stats) float64) {
		a.metrics.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			s := a.journal.Stats()
			return value(&s)
		}))
	}
	gauge("tocsin_journal_events", "Events that are recorded.", func(s *journal.Stats) float64 { return float64(s.Events) })
	gauge("tocsin_journal_last_sequence", "Sequence of the newest event.", func(s *journal.Stats) float64 { return float64(s.Last) })
	gauge("tocsin_journal_segments", "Sealed segments.", func(s *journal.Stats) float64 { return float64(s.Segments) })
	gauge("tocsin_journal_bytes", "Bytes of the journal on disk.", func(s *journal.Stats) float64 {
		total := s.LogBytes
		for _, n := range s.SegmentBytes {
			total += n
		}
		return float64(total)
	})
	gauge("tocsin_journal_refuses", "1 while no events are accepted.", func(s *journal.Stats) float64 {
		if s.Refuse != nil {
			return 1
		}
		return 0
	})
}
