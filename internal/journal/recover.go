package journal

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
	"github.com/tocsin-events/tocsin/internal/journal/wal"
)

// ProblemError is something that is not as it was written.
type ProblemError struct {
	Path        string    // the file; empty when no one file is to blame
	First, Last event.Seq // the sequences concerned; each 0 when unknown
	Err         error
}

// Error names file and sequences.
func (p *ProblemError) Error() string {
	var b strings.Builder
	if p.Path != "" {
		fmt.Fprintf(&b, "%s: ", p.Path)
	}
	if p.First != 0 && p.Last == 0 {
		fmt.Fprintf(&b, "sequences from %d on: ", p.First)
	} else if p.First != 0 {
		fmt.Fprintf(&b, "sequences %d to %d: ", p.First, p.Last)
	}
	b.WriteString(p.Err.Error())
	return b.String()
}

// Unwrap gives the cause.
func (p *ProblemError) Unwrap() error { return p.Err }

var errChain = errors.New("the hash chain is broken: events are missing or altered")

// link is a piece of a class's chain: a segment, or what is kept of one. As a
// gap it is what lies between two pieces that do not join.
type link struct {
	path        string
	class       segment.Class
	first, last event.Seq
	in, out     segment.Hash
}

// state is what the files of a journal say, read without changing them.
type state struct {
	readers []*segment.Reader // by first sequence
	ledger  []Removed
	links   []link   // of all classes, by first sequence
	bad     []string // segments that can't be opened
	gone    []string // segments that the ledger says were removed
	ends    [classes]Head
	count   int64 // events that are accounted for: in segments, the ledger, and the log
	last    event.Seq
	newest  int64 // the last time of recording in the log
	gaps    []link
	other   []*ProblemError
	log     wal.Contents
}

// close gives the segments back.
func (s *state) close() {
	for _, r := range s.readers {
		r.Release()
	}
}

// loadSegments opens every segment and the ledger, and follows the chains.
func loadSegments(fsys vfs.FS, dir string) (*state, error) {
	s := &state{}
	var err error
	if s.ledger, _, err = readLedger(fsys, filepath.Join(dir, ledgerName)); err != nil {
		return s, err
	}
	names, err := fsys.List(filepath.Join(dir, segmentDir))
	if err != nil {
		return s, fmt.Errorf("list the segments: %w", err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, segment.Suffix) {
			continue
		}
		path := filepath.Join(dir, segmentDir, name)
		r, err := segment.Open(fsys, path)
		if err != nil {
			s.bad = append(s.bad, path)
			first, _, _ := strings.Cut(name, "-") // all that is known of it
			seq, _ := event.ParseSeq(first)
			s.other = append(s.other, &ProblemError{Path: path, First: seq, Err: err})
			continue
		}
		s.readers = append(s.readers, r)
	}
	slices.SortFunc(s.readers, func(a, b *segment.Reader) int { return cmp.Compare(a.First(), b.First()) })
	s.dropRemoved()
	s.follow()
	return s, nil
}

// dropRemoved leaves out segments that the ledger says are gone: the unlink
// did not last.
func (s *state) dropRemoved() {
	type id struct {
		class       segment.Class
		first, last event.Seq
	}
	gone := make(map[id]bool, len(s.ledger))
	for i := range s.ledger {
		if r := &s.ledger[i]; !r.Lost {
			gone[id{r.Class, r.First, r.Last}] = true
		}
	}
	s.readers = slices.DeleteFunc(s.readers, func(r *segment.Reader) bool {
		in := r.Info()
		if !gone[id{in.Class, in.First, in.Last}] {
			return false
		}
		s.gone = append(s.gone, in.Path)
		r.Release()
		return true
	})
}

// follow checks that the links of each class join, and counts.
func (s *state) follow() {
	links := make([]link, 0, len(s.readers)+len(s.ledger))
	defer func() { s.links = links }()
	for _, r := range s.readers {
		in := r.Info()
		links = append(links, link{in.Path, in.Class, in.First, in.Last, in.In, in.Out})
		s.count += int64(in.Count)
	}
	for i := range s.ledger {
		r := &s.ledger[i]
		links = append(links, link{ledgerName, r.Class, r.First, r.Last, r.In, r.Out})
		s.count += int64(r.Count)
	}
	slices.SortStableFunc(links, func(a, b link) int { return cmp.Compare(a.first, b.first) })
	for i := range links {
		l := &links[i]
		end := &s.ends[l.class]
		if l.in != end.Hash || l.first <= end.Last {
			s.gaps = append(s.gaps, link{l.path, l.class, end.Last + 1, l.first - 1, end.Hash, l.in})
		}
		*end = Head{max(end.Last, l.last), l.out}
		s.last = max(s.last, l.last)
	}
}

// replay reads the log on top of the segments. take gets every event that is in
// no segment; broken is called before the first event behind a gap.
func (s *state) replay(fsys vfs.FS, dir string, take func(*wal.Frame, event.Seq, *wal.Record), broken func([classes]Head)) error {
	sealed, before := s.ends, event.Seq(0)
	var err error
	s.log, err = wal.Scan(fsys, filepath.Join(dir, logDir), func(f *wal.Frame) error {
		gaps := len(s.gaps)
		for c := range s.ends {
			end := &s.ends[c]
			if f.First <= sealed[c].Last || f.Before[c] == end.Hash {
				continue // the frame begins inside a segment, or goes on where the chain ends
			}
			s.gaps = append(s.gaps, link{f.Path, segment.Class(c), max(before, end.Last) + 1, f.First - 1, end.Hash, f.Before[c]})
			end.Hash = f.Before[c]
		}
		if len(s.gaps) > gaps {
			broken(s.ends)
		}
		for seq, r := range f.Records() {
			if seq <= sealed[r.Class].Last {
				continue
			}
			end := &s.ends[r.Class]
			*end = Head{seq, segment.Next(end.Hash, seq, f.Recorded, r.Body)}
			s.count++
			take(f, seq, &r)
		}
		before, s.newest = f.Last(), f.Recorded
		s.last = max(s.last, before)
		return nil
	})
	if err == nil {
		s.judge()
	}
	return err
}

// judge compares what is there with what was recorded: every sequence once.
func (s *state) judge() {
	missing := int64(s.last) - s.count
	if missing == 0 {
		return // a damaged place in the log has lost nothing that is not in a segment
	}
	for i := range s.log.Damage {
		d := &s.log.Damage[i]
		s.other = append(s.other, &ProblemError{Path: d.Path, First: d.After + 1, Last: d.Before - 1, Err: d})
	}
	if missing < 0 {
		s.other = append(s.other, &ProblemError{Err: fmt.Errorf("%d events more than sequences", -missing)})
	} else {
		s.other = append(s.other, &ProblemError{Err: fmt.Errorf("%d of %d events are missing", missing, s.last)})
	}
}

// whole reports whether every event is there, once, and every chain unbroken:
// a segment that can't be read may still be in the log.
func (s *state) whole() bool { return int64(s.last) == s.count && len(s.gaps) == 0 }

// problems lists everything that is wrong.
func (s *state) problems() []*ProblemError {
	all := slices.Clone(s.other)
	for i := range s.gaps {
		g := &s.gaps[i]
		all = append(all, &ProblemError{g.path, g.first, g.last, errChain})
	}
	return all
}

func joinProblems(problems []*ProblemError) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}
