package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow/cron"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/flow/speed"
)

// language compares the interpreter with the same work as bare calls of gojq.
func (b *bench) language(ctx context.Context) error {
	for _, c := range speed.Cases() {
		p, err := program.Compile([]byte(c.Document), program.Options{})
		if err != nil {
			return err
		}
		bare, err := c.Bare()
		if err != nil {
			return err
		}
		run := program.Run{ID: "1", Input: speed.Input(), StartedAt: time.Unix(1700000000, 0)}
		ours := func() error {
			got, err := p.Run(ctx, run)
			if err == nil && got.State != program.Completed {
				err = fmt.Errorf("%s: the run is %s: %w", c.Name, got.State, got.Err)
			}
			return err
		}
		input := speed.Input()
		theirs := func() error {
			if _, failed := bare(input).(error); failed {
				return fmt.Errorf("%s: the bare calls fail", c.Name)
			}
			return nil
		}
		if err := b.compare(&c, ours, theirs); err != nil {
			return err
		}
	}
	return nil
}

// compare measures both sides of a case in turns: time, and allocations.
func (b *bench) compare(c *speed.Case, ours, theirs func() error) error {
	b.o.Say("flows: the language, " + c.Name)
	var took [2]samples
	for range 2 * b.s.rounds {
		for i, side := range []func() error{ours, theirs} {
			ns, err := timeOf(b.s.programs, side)
			if err != nil {
				return err
			}
			took[i] = append(took[i], ns)
		}
	}
	allocations, err := allocationsOf(b.s.programs, ours)
	if err != nil {
		return err
	}
	b.report.add(Row{
		Section: flowsSection, What: "a run of " + c.Name, Ours: took[0].median(), Theirs: took[1].median(), Unit: "ns",
		Against: "the same work as bare calls of gojq, compiled once", Sense: AtMost, Goal: c.Times,
	})
	b.report.add(Row{
		Section: flowsSection, What: "allocations of it", Ours: allocations, Theirs: c.Allocations,
		Against: "the limit", Sense: AtMost, Goal: 1,
	})
	b.report.note("A run of %s: %s ns, bare %s in the rounds; round by round %s.", c.Name, list(took[0]), list(took[1]), list(ratios(took[0], took[1])))
	return nil
}

// timeOf gives the nanoseconds of one call of so many.
func timeOf(n int, do func() error) (float64, error) {
	runtime.GC()
	began := time.Now()
	for range n {
		if err := do(); err != nil {
			return 0, err
		}
	}
	return float64(time.Since(began)) / float64(n), nil
}

// allocationsOf gives the allocations of one call of so many, in whole ones: what
// the rest of the process allocates meanwhile is not a part of every call.
func allocationsOf(n int, do func() error) (float64, error) {
	if err := do(); err != nil { // what is made once
		return 0, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		if err := do(); err != nil {
			return 0, err
		}
	}
	runtime.ReadMemStats(&after)
	return float64((after.Mallocs - before.Mallocs) / uint64(n)), nil
}

// coming measures when schedules come due next, one time after the other.
func (b *bench) coming(context.Context) error {
	b.o.Say("flows: when a schedule comes due")
	specs := []string{"*/5 * * * *", "30 2 * * *", "0 9 * * MON-FRI", "0 0 29 2 *", "15,45 8-18 1 */3 *", "0 12 L * *"} // near and far, of every sort
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		return err
	}
	none, took := 0, samples{}
	for _, spec := range specs {
		s, err := cron.Parse(spec, zone)
		if err != nil {
			return err
		}
		at := time.Date(2026, 11, 21, 0, 0, 0, 0, zone)
		next := func() error {
			if at = s.Next(at); at.IsZero() || at.Year() > 2200 {
				at = time.Date(2026, 11, 21, 0, 0, 0, 0, zone)
			}
			return nil
		}
		ns, err := timeOf(b.s.programs, next)
		if err != nil {
			return err
		}
		n, err := allocationsOf(b.s.programs, next)
		if err != nil {
			return err
		}
		if n == 0 {
			none++
		}
		took = append(took, ns)
	}
	b.report.add(Row{
		Section: flowsSection, What: "schedules whose next time is found without an allocation", Ours: float64(none), Theirs: float64(len(specs)),
		Against: "all that are asked", Sense: More, Goal: 1,
	})
	b.report.note("Schedules: the next time of %v in Europe/Berlin takes %s ns.", specs, list(took))
	return nil
}
