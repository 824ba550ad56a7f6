package journal

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
	"github.com/tocsin-events/tocsin/internal/journal/wal"
)

// VerifyOptions say what to verify beside the files themselves.
type VerifyOptions struct {
	// Against are heads that were exported earlier; the chains must pass through
	// them. PublicKey is the key to trust; without one it is the journal's own,
	// which whoever altered the journal may have had, too.
	Against   *Heads
	PublicKey ed25519.PublicKey
	// Progress is called after each segment; it may be nil.
	Progress func(done, total int)
}

// Report is what Verify found.
type Report struct {
	Events   int64 // that are there
	Removed  int64 // events that retention removed
	Lost     int64 // events whose loss was accepted
	Segments int
	Last     event.Seq
	Ends     [classes]Head
	Problems []*ProblemError
	// Unproven are the classes whose head lies within what was removed, so that
	// nothing can be said about it.
	Unproven []segment.Class
}

// Verify reads the whole journal: every checksum and hash of every segment, the
// chain of each class over segments and what was removed, the log, and that
// every sequence is there once. The error joins the report's problems, each of
// which names file and sequences, or says why nothing could be verified.
// Appends wait while the log is read, and retention until the end.
func (j *Journal) Verify(ctx context.Context, o VerifyOptions) (Report, error) {
	select {
	case <-j.retaining:
		defer func() { j.retaining <- struct{}{} }()
	case <-ctx.Done():
		return Report{}, ctx.Err()
	}
	if o.PublicKey == nil {
		o.PublicKey = j.PublicKey()
	}
	v := &verifier{o: o, id: j.identity.ID, passed: passed{want: o.Against}}
	look := func() error {
		s, err := loadSegments(j.o.FS, j.o.Dir)
		v.state = s
		if err != nil {
			return err
		}
		if err := v.log(j.o.FS, j.o.Dir); err != nil {
			return err
		}
		if j.log != nil && s.ends != j.memory.ends {
			s.other = append(s.other, &ProblemError{Path: logDir, Err: errMemory})
		}
		return nil
	}
	err := j.quiet(ctx, look)
	defer v.close()
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	return v.run(ctx)
}

// quiet runs f while no file of the log or segment comes or goes.
func (j *Journal) quiet(ctx context.Context, f func() error) error {
	if j.stopReason() != nil { // nobody writes any more
		return f()
	}
	return j.run(ctx, func() error { return j.files.log.Hold(f) })
}

// VerifyDir verifies the journal of a stopped server, and changes nothing. A
// running one is vfs.ErrLocked.
func VerifyDir(ctx context.Context, fsys vfs.FS, dir string, o VerifyOptions) (Report, error) {
	id, err := loadIdentity(fsys, dir)
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	lock, err := lockFolder(fsys, dir)
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if o.PublicKey == nil {
		o.PublicKey = id.key.Public().(ed25519.PublicKey)
	}
	v := &verifier{o: o, id: id.ID, passed: passed{want: o.Against}}
	v.state, err = loadSegments(fsys, dir)
	defer v.close()
	if err == nil {
		err = v.log(fsys, dir)
	}
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	return v.run(ctx)
}

var (
	errMemory = errors.New("the log's hash chains do not end as those in memory")
	errHead   = errors.New("the hash chain does not pass through the head: events were altered or removed")
)

type verifier struct {
	o      VerifyOptions
	id     event.ID
	state  *state
	passed passed
	inLog  int64
}

func (v *verifier) close() {
	if v.state != nil {
		v.state.close()
	}
}

func (v *verifier) log(fsys vfs.FS, dir string) error {
	return v.state.replay(fsys, dir, func(_ *wal.Frame, seq event.Seq, r *wal.Record) {
		v.inLog++
		v.passed.at(r.Class, seq, v.state.ends[r.Class].Hash)
	}, func([classes]Head) {})
}

func (v *verifier) run(ctx context.Context) (Report, error) {
	s := v.state
	report := Report{Events: v.inLog, Segments: len(s.readers), Last: s.last, Ends: s.ends, Problems: s.problems()}
	for i := range s.ledger {
		if r := &s.ledger[i]; r.Lost {
			report.Lost += int64(r.Count)
		} else {
			report.Removed += int64(r.Count)
		}
	}
	for i, r := range s.readers {
		report.Events += int64(r.Info().Count)
		if err := r.Verify(ctx); err != nil {
			if ctx.Err() != nil {
				return report, ctx.Err()
			}
			report.Problems = append(report.Problems, segmentProblem(r, err))
		}
		if v.o.Progress != nil {
			v.o.Progress(i+1, len(s.readers))
		}
	}
	if err := v.against(ctx, &report); err != nil {
		return report, err
	}
	return report, joinProblems(report.Problems)
}

func segmentProblem(r *segment.Reader, err error) *ProblemError {
	in := r.Info()
	p := &ProblemError{Path: in.Path, First: in.First, Last: in.Last, Err: err}
	if d, ok := errors.AsType[*segment.DamageError](err); ok {
		p.First, p.Last, p.Err = d.First, d.Last, d.Err
	}
	return p
}

// against checks that the chains pass through the heads.
func (v *verifier) against(ctx context.Context, report *Report) error {
	want := v.o.Against
	if want == nil {
		return nil
	}
	if err := want.Check(v.o.PublicKey); err != nil {
		return err
	}
	if want.Journal != v.id {
		return event.Invalidf("the heads are of journal %s; this one is %s", want.Journal, v.id)
	}
	if want.Last > v.state.last {
		report.Problems = append(report.Problems, &ProblemError{First: v.state.last + 1, Last: want.Last, Err: errHead})
	}
	for c, head := range want.Classes {
		class := segment.Class(c)
		if head.Last == 0 || v.passed.ok[c] {
			continue
		}
		hash, path, err := v.hashAt(ctx, class, head.Last)
		switch {
		case errors.Is(err, errUnproven):
			report.Unproven = append(report.Unproven, class)
		case err != nil:
			return err
		case hash != head.Hash:
			report.Problems = append(report.Problems, &ProblemError{Path: path, First: head.Last, Last: head.Last, Err: errHead})
		}
	}
	return nil
}

var errUnproven = errors.New("the head lies within what was removed")

// hashAt gives the hash of a class's chain after an event, and the file it is
// in; the zero hash when there is no such event.
func (v *verifier) hashAt(ctx context.Context, class segment.Class, seq event.Seq) (segment.Hash, string, error) {
	for i := range v.state.links {
		l := &v.state.links[i]
		switch {
		case l.class != class || seq < l.first || seq > l.last:
		case seq == l.last:
			return l.out, l.path, nil
		case l.path == ledgerName:
			return segment.Hash{}, l.path, errUnproven
		default:
			h, err := v.hashInside(ctx, l, seq)
			return h, l.path, err
		}
	}
	return segment.Hash{}, "", nil
}

// hashInside goes through a segment from its first event on.
func (v *verifier) hashInside(ctx context.Context, l *link, seq event.Seq) (segment.Hash, error) {
	for _, r := range v.state.readers {
		if r.Info().Path != l.path {
			continue
		}
		h, at := l.in, l.first-1
		for at < seq {
			page, err := segment.Search(ctx, []segment.Source{r}, &segment.Query{
				Ascending: true, Transient: true, Above: at, Below: seq + 1, Limit: 1000,
			})
			if err != nil || len(page.Hits) == 0 { // damage is in the report already
				return segment.Hash{}, err
			}
			for _, hit := range page.Hits {
				h, at = segment.Next(h, hit.Seq, hit.Recorded, hit.Body), hit.Seq
			}
		}
		return h, nil
	}
	return segment.Hash{}, nil
}
