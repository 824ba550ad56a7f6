package journal

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/wal"
)

// damagedSuffix marks files that were set aside.
const damagedSuffix = ".damaged"

// acceptLoss goes on over damage, on an operator's word or where nothing is
// lost: what is whole goes into segments, what is lost into the ledger, and the
// damaged files are renamed. A crash in between leaves a journal that is still
// damaged, or whole.
func (j *Journal) acceptLoss(ctx context.Context, s *state) error {
	missing := int64(s.last) - s.count
	if missing < 0 {
		return fmt.Errorf("%w: %w", ErrDamaged, joinProblems(s.problems()))
	}
	// First, since what is written below may get the same names.
	if err := j.setAside(s.bad); err != nil {
		return err
	}
	j.memory.rotate()
	for _, t := range slices.Clone(j.sealing) {
		if err := j.write(t); err != nil {
			return fmt.Errorf("save what is whole: %w", err)
		}
	}
	lost := make([]Removed, 0, len(s.gaps)+1)
	for _, g := range s.gaps {
		lost = append(lost, Removed{Class: g.class, First: g.first, Last: g.last, In: g.in, Out: g.out})
	}
	if len(lost) == 0 && missing > 0 { // every chain is whole: only a count is wrong
		end := s.ends[segment.Default]
		lost = append(lost, Removed{First: end.Last + 1, Last: s.last, In: end.Hash, Out: end.Hash})
	}
	for i := range lost {
		lost[i].Lost, lost[i].When, lost[i].Why = true, time.Now(), "damaged; the loss was accepted"
	}
	if len(lost) > 0 {
		lost[0].Count = int(missing)
	}
	if err := j.ledger.add(lost); err != nil {
		return err
	}
	j.o.Logger.WarnContext(ctx, "damaged files were set aside", "events_lost", missing, "err", joinProblems(s.problems()))
	var logs []string
	for i := range s.log.Damage {
		if p := s.log.Damage[i].Path; !slices.Contains(logs, p) {
			logs = append(logs, p)
		}
	}
	s.log.Damage = nil
	s.log.Files = slices.DeleteFunc(s.log.Files, func(f wal.File) bool { return slices.Contains(logs, f.Path) })
	return j.setAside(logs)
}

// setAside renames damaged files, so that nothing is ever deleted unseen.
func (j *Journal) setAside(paths []string) error {
	for _, p := range paths {
		if err := j.o.FS.Rename(p, p+damagedSuffix); err != nil {
			return fmt.Errorf("set a damaged file aside: %w", err)
		}
		if err := j.o.FS.SyncDir(filepath.Dir(p)); err != nil {
			return fmt.Errorf("set a damaged file aside: %w", err)
		}
	}
	return nil
}
