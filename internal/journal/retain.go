package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// maintainEvery is how often old tables are sealed and retention runs.
const maintainEvery = time.Minute

const dayLength = 24 * time.Hour

// Policy says what to keep. Retention looks at the time of recording, and at
// whole segments: one day of one class at most.
type Policy struct {
	// Keep is how long the events of a class are kept, counted from the end of
	// the day (UTC) of their recording; 0 is for ever. Transient segments go, at
	// the latest, when the last of their events has expired.
	Keep map[segment.Class]time.Duration
	// MaxBytes limits the sum of all segments; the oldest go first, whatever
	// their class. 0 is no limit.
	MaxBytes int64
	// Hold keeps a segment whatever else is said (legal hold). It may be nil.
	Hold func(segment.Info) bool
}

// doomed is a segment that is about to go.
type doomed struct {
	reader *segment.Reader
	entry  Removed
}

// Preview lists what Retain would remove now.
func (j *Journal) Preview(p Policy) []Removed {
	v := j.read()
	defer v.release()
	return entries(choose(v.readers, p, time.Now()))
}

func entries(all []doomed) []Removed {
	out := make([]Removed, len(all))
	for i := range all {
		out[i] = all[i].entry
	}
	return out
}

// choose picks the segments that a policy gives up, oldest first.
func choose(readers []*segment.Reader, p Policy, now time.Time) []doomed {
	readers = slices.Clone(readers)
	slices.SortStableFunc(readers, func(a, b *segment.Reader) int {
		return cmp.Or(cmp.Compare(a.Info().Day, b.Info().Day), cmp.Compare(a.First(), b.First()))
	})
	var gone []doomed
	var kept []*segment.Reader
	var bytes int64
	for _, r := range readers {
		in := r.Info()
		why := tooOld(&in, p, now)
		held := p.Hold != nil && p.Hold(in)
		if why != "" && !held {
			gone = append(gone, doom(r, why, now))
			continue
		}
		bytes += in.Bytes
		if !held {
			kept = append(kept, r)
		}
	}
	for _, r := range kept {
		if p.MaxBytes <= 0 || bytes <= p.MaxBytes {
			break
		}
		bytes -= r.Info().Bytes
		gone = append(gone, doom(r, fmt.Sprintf("all segments together exceeded %d bytes", p.MaxBytes), now))
	}
	return gone
}

// tooOld gives the reason why a segment's time is over; empty when it isn't.
func tooOld(in *segment.Info, p Policy, now time.Time) string {
	if in.Class == segment.Transient && in.MaxExpiry != 0 && in.MaxExpiry <= now.UnixNano() {
		return "transient events expire after " + TransientAge.String()
	}
	keep := p.Keep[in.Class]
	end := time.Unix(0, 0).Add(time.Duration(in.Day+1) * dayLength)
	if keep > 0 && !end.Add(keep).After(now) {
		return fmt.Sprintf("events of the class %s are kept for %s", in.Class, keep)
	}
	return ""
}

func doom(r *segment.Reader, why string, now time.Time) doomed {
	in := r.Info()
	return doomed{r, Removed{
		Class: in.Class, First: in.First, Last: in.Last, Count: in.Count, In: in.In, Out: in.Out,
		Bytes: in.Bytes, When: now.UTC(), Why: why,
	}}
}

// Retain removes the segments that a policy gives up, and returns what is kept
// of them. Each is in the ledger, on disk, before its file is unlinked, so that
// a crash in between is finished by the next Open. Reads that are under way
// still see what they began with.
func (j *Journal) Retain(ctx context.Context, p Policy) ([]Removed, error) {
	select {
	case <-j.retaining:
		defer func() { j.retaining <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := j.stopReason(); err != nil {
		return nil, err
	}
	v := j.read()
	defer v.release()
	gone := choose(v.readers, p, time.Now())
	if len(gone) == 0 {
		return nil, nil
	}
	removed := entries(gone)
	if err := j.ledger.add(removed); err != nil {
		if isStop(err) {
			j.halt(err)
		}
		return nil, err
	}
	j.mu.Lock()
	j.setView(j.view.tables, slices.DeleteFunc(slices.Clone(j.view.readers), func(r *segment.Reader) bool {
		return slices.ContainsFunc(gone, func(d doomed) bool { return d.reader == r })
	}))
	j.mu.Unlock()
	var errs []error
	for _, d := range gone {
		errs = append(errs, j.o.FS.Remove(d.reader.Info().Path))
	}
	errs = append(errs, j.o.FS.SyncDir(filepath.Join(j.o.Dir, segmentDir)))
	if err := errors.Join(errs...); err != nil {
		return removed, fmt.Errorf("unlink segments: %w", err)
	}
	return removed, nil
}

// maintain is the goroutine that seals tables whose day is over, and runs
// retention.
func (j *Journal) maintain() {
	ctx := context.Background()
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	for {
		select {
		case <-j.quit:
			return
		case <-tick.C:
		}
		if err := j.sealOld(ctx); err != nil && !errors.Is(err, ErrClosed) {
			j.o.Logger.WarnContext(ctx, "a table whose day is over could not be sealed", "err", err)
		}
		var p Policy
		if j.o.Policy != nil {
			p = j.o.Policy()
		}
		removed, err := j.Retain(ctx, p)
		if err != nil && j.stopReason() == nil {
			j.o.Logger.WarnContext(ctx, "retention failed; trying again in a minute", "err", err)
		}
		if len(removed) > 0 {
			j.o.Logger.InfoContext(ctx, "retention removed segments", "segments", len(removed))
		}
	}
}

// sealOld hands the newest table to the sealer when it began on an earlier day:
// on a quiet server it would never be full.
func (j *Journal) sealOld(ctx context.Context) error {
	j.mu.Lock()
	opened := j.opened
	j.mu.Unlock()
	if opened == 0 || opened/int64(dayLength) >= time.Now().UnixNano()/int64(dayLength) {
		return nil
	}
	return j.run(ctx, func() error {
		if err := j.memory.room(ctx); err == nil {
			j.memory.rotate()
		}
		return nil
	})
}
