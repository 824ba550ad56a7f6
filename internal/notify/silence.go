package notify

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Silence keeps what matches from being told, until it expires: a maintenance
// window is one.
type Silence struct {
	Filter    string    `json:"filter"` // CEL
	Rules     []string  `json:"rules"`  // ids; none for all
	StartsAt  time.Time `json:"starts_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Comment   string    `json:"comment"`
	CreatedBy string    `json:"created_by"` // name of a user
}

var silences = state.Collection[Silence]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "notify", Model: "silence",
	Name: func(s *Silence) string {
		if s.Comment != "" {
			return s.Comment
		}
		return s.Filter
	},
}

func (n *Notify) checkSilence(s *Silence, now time.Time) error {
	s.Rules = orEmpty(s.Rules)
	s.StartsAt, s.ExpiresAt = s.StartsAt.UTC(), s.ExpiresAt.UTC()
	var problems []error
	if strings.TrimSpace(s.Filter) == "" {
		problems = append(problems, event.Invalidf(`filter: is empty and would silence everything; if that is meant, say "true"`))
	} else if _, err := n.o.Filters.Compile(s.Filter); err != nil {
		problems = append(problems, event.Invalidf("filter: %w", err))
	}
	if !s.ExpiresAt.After(now) || !s.ExpiresAt.After(s.StartsAt) {
		problems = append(problems, event.Invalidf("expires_at: must be in the future, and behind starts_at"))
	}
	if len(s.Comment) > 1000 {
		problems = append(problems, event.Invalidf("comment: at most 1000 bytes"))
	}
	if _, err := ids(s.Rules); err != nil {
		problems = append(problems, event.Invalidf("rules: %s", err))
	}
	return errors.Join(problems...)
}

// silence is a compiled one.
type silence struct {
	Silence
	id     state.ObjectID
	filter *filter.Filter
	rules  []state.ObjectID
}

// covers reports whether a silence keeps an event of a rule from being told.
func (s *silence) covers(r *rule, sub *subject, now time.Time) bool {
	if now.Before(s.StartsAt) || !now.Before(s.ExpiresAt) {
		return false
	}
	if len(s.rules) > 0 && !slices.Contains(s.rules, r.id) {
		return false
	}
	matched, err := s.filter.Match(sub.input())
	return matched && err == nil
}

// ListSilences returns up to limit silences behind an id, also expired ones.
func (n *Notify) ListSilences(ctx context.Context, after state.ObjectID, limit int) ([]state.Record[Silence], error) {
	return silences.List(ctx, n.o.State.Reader(), after, limit)
}

// GetSilence returns one silence.
func (n *Notify) GetSilence(ctx context.Context, id state.ObjectID) (state.Record[Silence], error) {
	return silences.Get(ctx, n.o.State.Reader(), id)
}

// CreateSilence stores a silence; it begins now unless it says when.
func (n *Notify) CreateSilence(ctx context.Context, by state.Cause, s Silence) (made state.Record[Silence], err error) {
	now := time.Now().UTC()
	if s.StartsAt.IsZero() {
		s.StartsAt = now
	}
	s.CreatedBy = by.AuthName
	if err := n.checkSilence(&s, now); err != nil {
		return made, err
	}
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		made, err = silences.Insert(tx, s)
		return err
	})
	return made, err
}

// Prolong stores a silence that begins now. Where the same author has one already
// for the same filter and rules, that one lasts until the later of both ends: asked
// for twice, it is there once.
func (n *Notify) Prolong(ctx context.Context, by state.Cause, s Silence) (r state.Record[Silence], err error) {
	now := time.Now().UTC()
	s.StartsAt, s.CreatedBy = now, by.AuthName
	if err := n.checkSilence(&s, now); err != nil {
		return r, err
	}
	same := func(o *Silence) bool {
		return o.CreatedBy == s.CreatedBy && o.Filter == s.Filter && slices.Equal(o.Rules, s.Rules) && o.ExpiresAt.After(now) && !o.StartsAt.After(now)
	}
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		var known state.ObjectID
		if err := eachOf(ctx, tx, &silences, func(o state.Record[Silence]) error {
			if same(&o.Value) {
				known = o.ID
			}
			return nil
		}); err != nil {
			return err
		}
		if known == 0 {
			r, err = silences.Insert(tx, s)
			return err
		}
		r, err = silences.Update(tx, known, state.AnyVersion, func(o *Silence) error {
			o.ExpiresAt = later(o.ExpiresAt, s.ExpiresAt)
			return nil
		})
		return err
	})
	return r, err
}

// UpdateSilence changes a silence.
func (n *Notify) UpdateSilence(ctx context.Context, by state.Cause, id state.ObjectID, version int64, change func(*Silence) error) (r state.Record[Silence], err error) {
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		r, err = silences.Update(tx, id, version, func(s *Silence) error {
			if err := change(s); err != nil {
				return err
			}
			return n.checkSilence(s, time.Now().UTC())
		})
		return err
	})
	return r, err
}

// DeleteSilence ends a silence.
func (n *Notify) DeleteSilence(ctx context.Context, by state.Cause, id state.ObjectID, version int64) error {
	return n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		_, err := silences.Delete(tx, id, version)
		return err
	})
}
