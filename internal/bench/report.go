package bench

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Sense says which of two figures is the better one.
type Sense uint8

// The senses.
const (
	More   Sense = iota // ours divided by theirs; the goal is a least ratio
	Less                // theirs divided by ours; the goal is a least ratio
	AtMost              // ours divided by theirs; the goal is a greatest ratio
)

// Row is one line of the table.
type Row struct {
	Section      string
	What         string
	Ours, Theirs float64
	Unit         string
	Against      string // what Theirs is
	Sense        Sense
	Goal         float64 // of the ratio; 0 where the row only informs
}

// Ratio compares the two figures.
func (r *Row) Ratio() float64 {
	if r.Sense == Less {
		return r.Theirs / r.Ours
	}
	return r.Ours / r.Theirs
}

// Met reports whether the goal is reached.
func (r *Row) Met() bool {
	if r.Sense == AtMost {
		return r.Ratio() <= r.Goal
	}
	return r.Ratio() >= r.Goal
}

// verdict is yes, no, or nothing where there is no goal.
func (r *Row) verdict() string {
	switch {
	case r.Goal == 0:
		return ""
	case r.Met():
		return "yes"
	default:
		return "**no**"
	}
}

func (r *Row) goal() string {
	if r.Goal == 0 {
		return ""
	}
	if r.Sense == AtMost {
		return "≤ " + figure(r.Goal)
	}
	return "≥ " + figure(r.Goal)
}

// Report is the outcome of a run.
type Report struct {
	Rows  []Row
	Notes []string

	Started  time.Time
	Took     time.Duration
	Machine  string
	Others   float64 // cores that other processes kept busy, on average; 0 where there is no /proc
	Quick    bool
	Small    int // events in the searched journal
	Large    int
	EventLen float64 // mean length of an event's JSON, in bytes
}

func (r *Report) begin(b *bench) {
	r.Started, r.Quick, r.Small, r.Large = time.Now(), b.o.Quick, b.s.small, b.s.large
	r.Machine = fmt.Sprintf("%d cores (GOMAXPROCS %d), %s/%s, %s", runtime.NumCPU(), runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH, runtime.Version())
	r.Others = -others()
	g := NewGenerator(b.seed, 1000, b.s.needleDistance, time.Now())
	for range 1000 {
		e := g.Next()
		r.EventLen += float64(len(e.AppendJSON(nil))) / 1000
	}
}

// end puts the rows of each section together.
func (r *Report) end() {
	place := map[string]int{}
	for i := range r.Rows {
		if _, known := place[r.Rows[i].Section]; !known {
			place[r.Rows[i].Section] = len(place)
		}
	}
	slices.SortStableFunc(r.Rows, func(a, b Row) int { return cmp.Compare(place[a.Section], place[b.Section]) })
	r.Took = time.Since(r.Started)
	r.Others = max(0, (r.Others+others())/r.Took.Seconds()) // the two clocks tick apart by a hundredth
}

// others is how many seconds of processor time the machine has spent on anything
// but this process and the children that have ended (proc_stat(5)).
func others() float64 {
	const ticks = 100 // a second, on every platform of Linux
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	busy := 0.0
	for i, field := range strings.Fields(line) {
		if n, err := strconv.ParseFloat(field, 64); err == nil && (i < 4 || i == 6 || i == 7) { // user nice system, irq softirq
			busy += n / ticks
		}
	}
	for _, who := range [...]int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var used unix.Rusage
		if err := unix.Getrusage(who, &used); err == nil {
			busy -= time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
		}
	}
	return busy
}

func (r *Report) add(row Row) { r.Rows = append(r.Rows, row) }

func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Missed counts the rows whose goal is not reached.
func (r *Report) Missed() (missed, goals int) {
	for i := range r.Rows {
		if r.Rows[i].Goal == 0 {
			continue
		}
		goals++
		if !r.Rows[i].Met() {
			missed++
		}
	}
	return missed, goals
}

// WriteTable writes the table in Markdown.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	section := ""
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Section != section {
			section = row.Section
			fmt.Fprintf(&b, "\n### %s\n\n| what | ours | theirs | against | ratio | goal | met |\n|---|--:|--:|---|--:|--:|---|\n", section)
		}
		fmt.Fprintf(&b, "| %s | %s %s | %s %s | %s | %s | %s | %s |\n", row.What, figure(row.Ours), row.Unit, figure(row.Theirs), row.Unit,
			row.Against, figure(row.Ratio()), row.goal(), row.verdict())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WritePage writes the page of the documentation; command made it.
func (r *Report) WritePage(w io.Writer, command string) error {
	missed, goals := r.Missed()
	_, err := fmt.Fprintf(w, `# Benchmarks

<!-- Written by the command below; do not edit. -->

`+"```console\n$ %s\n```"+`

%s, in %s, on %s. Other processes took %.2f cores on average: above 0.1 the figures are worse than they could be.
%d of %d goals are reached. A ratio is how many times better ours is; where the goal is "≤", it is ours divided by theirs.

Both sides of a row are measured in turns in this one run; figures are medians of the rounds. Events have %.0f bytes of JSON on
average, a random UUID and 32 random hexadecimal digits in each, %d types, %d actors and %d addresses in Zipf distributions
(exponent %g) over 30 days. Needles are drawn anew in each run. SQLite is modernc.org/sqlite: WAL, synchronous=FULL, one
transaction a group from one goroutine, indexes on (type, time), actor and address, a unique index on (id, source). Searches
are prepared on both sides, and their answers are the same events on both, which is checked.
`, command, r.Started.UTC().Format("2 January 2006"), r.Took.Round(time.Second), r.Machine, r.Others,
		goals-missed, goals, r.EventLen, Types, Actors, Addresses, zipf)
	if err == nil && r.Quick {
		_, err = io.WriteString(w, "\n**A quick run: far too short for its figures to mean anything.**\n")
	}
	if err == nil {
		err = r.WriteTable(w)
	}
	if err == nil && len(r.Notes) > 0 {
		_, err = fmt.Fprintf(w, "\n## Notes\n\n- %s\n", strings.Join(r.Notes, "\n- "))
	}
	return err
}

// figure writes a number with three digits that count.
func figure(v float64) string {
	a := math.Abs(v)
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "?"
	case a >= 1e6:
		return fmt.Sprintf("%.2f M", v/1e6)
	case a >= 1e4:
		return fmt.Sprintf("%.1f k", v/1e3)
	case a >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}
