// Package bench measures Tocsin beside what else could be used: the disk
// itself, SQLite, and an HTTP handler that only stores.
//
// It promises: both sides of every ratio do the same work, on the same bytes,
// in turns, in one run on one machine; nothing is compared with a number that
// was written down earlier; where both sides search, their answers are compared
// first, and a difference is an error; every row has both figures. The needles
// of searches are drawn anew in each run. One Run at a time; it wants the
// machine for itself, and says how busy the machine was.
package bench

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Options say what to measure, and how much.
type Options struct {
	// Events is how many events the searched journal and SQLite hold. Default 1 M.
	Events int
	// Large is how many events the large journal holds. Default five times Events.
	Large int
	// Quick makes everything so small that the whole run takes well under a
	// minute. Its figures show that the bench works, and nothing else.
	Quick bool
	// Dir is where everything is written; it is removed at the end, but for what
	// was there before. Default a new folder beside the working directory, since
	// temporary folders may be in memory.
	Dir string
	// Program is the tocsin binary, of which processes are started to measure
	// their memory.
	Program string
	// Only, where not empty, names the sections to run.
	Only []string
	// Say tells what is being done. It may be nil.
	Say func(what string)
}

// The sections of a run.
const (
	SectionAppend = "append"
	SectionHTTP   = "http"
	SectionSearch = "search"
	SectionTail   = "tail"
	SectionMemory = "memory"
	SectionPages  = "pages"
	SectionAudit  = "audit"
	SectionNotify = "notify"
	SectionFlows  = "flows"
)

// scale is how much work each part does.
type scale struct {
	rounds         int // of everything that is measured in turns
	single, batch  int // events in a round of appends
	httpSingle     int
	httpBatch      int
	searches       int // of each query, and of SQLite's quick ones
	slow           int // of SQLite's slow queries
	tails          int
	tailRate       int // events a second
	tailFor        time.Duration
	changes        int // audited requests in a round
	rules          int // that are matched, of which most are in the way
	matched        int // events that are matched in a round
	silentRules    int
	silentEvents   int // that match none of them
	deliveries     int // in a round
	tellFor        time.Duration
	alerts         int // that are sent beside Alertmanager
	versusRounds   int
	programs       int // runs of a program in a round
	triggers       int // of which one matches each event
	triggered      int // events that are decided about in a round
	runs           int // durable ones, in a round
	waits          int // runs that wait
	small, large   int
	needleDistance int
}

func (o *Options) scale() scale {
	s := scale{
		rounds: 5, single: 128_000, batch: 256_000, httpSingle: 40_000, httpBatch: 200_000,
		searches: 300, slow: 7, tails: 100, tailRate: 1000, tailFor: 10 * time.Second,
		changes: 8000, rules: 10_000, matched: 200_000, silentRules: 100, silentEvents: 1_000_000, deliveries: 20_000, tellFor: 8 * time.Second, alerts: 2000, versusRounds: 3,
		programs: 20_000, triggers: 1000, triggered: 20_000, runs: 40_000, waits: 100_000,
		small: 1_000_000, large: o.Large, needleDistance: 200_000,
	}
	if o.Quick {
		s = scale{
			rounds: 2, single: 6400, batch: 10_000, httpSingle: 3200, httpBatch: 10_000,
			searches: 20, slow: 2, tails: 10, tailRate: 500, tailFor: 2 * time.Second,
			changes: 320, rules: 500, matched: 5000, silentRules: 20, silentEvents: 10_000, deliveries: 500, tellFor: time.Second, alerts: 200, versusRounds: 1,
			programs: 500, triggers: 100, triggered: 1000, runs: 1000, waits: 1000,
			small: 30_000, large: o.Large, needleDistance: 6000,
		}
	}
	if o.Events > 0 {
		s.small = o.Events
		s.needleDistance = min(s.needleDistance, max(o.Events/5, 1))
	}
	if s.large == 0 {
		s.large = 5 * s.small
	}
	return s
}

// bench is one run.
type bench struct {
	o      Options
	s      scale
	seed   uint64
	report Report
}

// Run measures everything and returns the table.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Events < 0 || o.Large < 0 {
		return nil, event.Invalidf("a number of events can't be negative")
	}
	if o.Say == nil {
		o.Say = func(string) {}
	}
	if o.Dir == "" {
		dir, err := os.MkdirTemp(".", "tocsin-bench-")
		if err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }() // nothing that anybody needs
		o.Dir = dir
	}
	b := &bench{o: o, s: o.scale(), seed: uint64(time.Now().UnixNano())}
	b.report.begin(b)
	for _, section := range []struct {
		name string
		run  func(context.Context) error
	}{
		{SectionAppend, b.appends}, {SectionHTTP, b.overHTTP}, {SectionSearch, b.searches}, {SectionTail, b.tail}, {SectionPages, b.pages}, {SectionAudit, b.audit}, {SectionNotify, b.telling}, {SectionFlows, b.flows}, {SectionMemory, b.idle},
	} {
		if !b.wanted(section.name) {
			continue
		}
		if err := section.run(ctx); err != nil {
			return nil, fmt.Errorf("bench: %s: %w", section.name, err)
		}
		runtime.GC() // no section pays for the one before
	}
	b.report.end()
	return &b.report, nil
}

func (b *bench) wanted(section string) bool {
	return len(b.o.Only) == 0 || slices.Contains(b.o.Only, section)
}

// folder makes an empty folder for one measurement.
func (b *bench) folder(name string) (string, error) { return os.MkdirTemp(b.o.Dir, name+"-") }
