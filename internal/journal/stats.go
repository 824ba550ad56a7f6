package journal

import (
	"sync/atomic"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// counters count since Open.
type counters struct {
	groups, requests, events, duplicates, failed atomic.Int64
}

func (c *counters) count(g *group, err error, to Observer) {
	s := GroupStats{Requests: len(g.requests), Took: time.Since(g.started), Err: err}
	if err == nil {
		for _, r := range g.requests {
			for i := range r.results {
				if r.results[i].Duplicate {
					s.Duplicates++
				} else {
					s.Events++
				}
			}
		}
		c.groups.Add(1)
		c.events.Add(int64(s.Events))
		c.duplicates.Add(int64(s.Duplicates))
	} else {
		c.failed.Add(int64(s.Requests))
	}
	c.requests.Add(int64(s.Requests))
	if to != nil {
		to.Committed(s)
	}
}

// Stats says how the journal is. Bytes are on disk unless said otherwise.
type Stats struct {
	Events       int64 // that are there
	First, Last  event.Seq
	Segments     int
	SegmentBytes map[string]int64 // by retention class
	LogBytes     int64
	Removed      int64 // events that retention removed, or that were lost
	Oldest       time.Time

	Tables      int   // in memory
	TableEvents int64 // events that are in no segment yet
	TableBytes  int64 // of memory for their bodies
	DedupeKeys  int
	DedupeBytes int // of memory

	// Since Open.
	Groups, Requests, Appended, Duplicates, Failed int64

	Heads  map[string]Head // by retention class
	Refuse error           // why nothing is accepted; nil when all is well
}

// Refuse says why nothing is accepted; nil when all is well. It costs nothing.
func (j *Journal) Refuse() error {
	if err := j.stopReason(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.sealErr
}

// Stats looks at everything that the journal knows without reading files.
func (j *Journal) Stats() Stats {
	v := j.read()
	defer v.release()
	c := &j.counters
	s := Stats{
		First: j.First(), Segments: len(v.readers), SegmentBytes: make(map[string]int64),
		Tables: len(v.tables), Heads: make(map[string]Head, classes), Refuse: j.stopReason(),
		Groups: c.groups.Load(), Requests: c.requests.Load(), Appended: c.events.Load(),
		Duplicates: c.duplicates.Load(), Failed: c.failed.Load(),
	}
	for _, r := range v.readers {
		in := r.Info()
		s.Events += int64(in.Count)
		s.SegmentBytes[in.Class.String()] += in.Bytes
		if day := time.Unix(in.Day*86400, 0).UTC(); s.Oldest.IsZero() || day.Before(s.Oldest) {
			s.Oldest = day
		}
	}
	for _, t := range v.tables {
		s.TableEvents += int64(t.Len())
		s.TableBytes += t.Bytes()
	}
	s.Events += s.TableEvents
	s.DedupeKeys, s.DedupeBytes = j.seen.size()
	if j.files != nil {
		s.LogBytes = j.files.log.Size()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	s.Last = j.last
	s.Removed = int64(j.last) - s.Events
	for class, head := range j.ends {
		s.Heads[className(class)] = head
	}
	if s.Refuse == nil {
		s.Refuse = j.sealErr
	}
	return s
}
