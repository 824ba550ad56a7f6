package notify

import (
	"context"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// load reads and compiles all that decides. A rule that no longer compiles, such
// as one whose policy was damaged by hand, is left out and reported. What has not
// changed since an old set is taken from there; old may be nil.
func (n *Notify) load(ctx context.Context, old *set) (*set, error) {
	s, err := n.surroundings(ctx)
	if err != nil {
		return nil, err
	}
	return s, n.loadRules(ctx, n.o.State.Reader(), s, old)
}

// surroundings are all that a rule works with: people, transports, silences,
// words.
func (n *Notify) surroundings(ctx context.Context) (*set, error) {
	s := &set{
		transient: n.isTransient,
		byID:      map[state.ObjectID]*rule{}, known: map[state.ObjectID]bool{}, buckets: map[event.Type]*bucket{},
		ways: map[state.ObjectID]*way{}, templates: map[event.Type]*Template{}, mutes: map[mute]bool{},
	}
	db := n.o.State.Reader()
	all, err := n.o.Directory.People(ctx)
	if err != nil {
		return nil, err
	}
	s.people = newPeople(all)
	if err := eachOf(ctx, db, &transports, func(t state.Record[Transport]) error {
		s.ways[t.ID] = &way{t.ID, t.Value.Name, t.Value.Mode, isPersonal(t.Value.Mode)}
		return nil
	}); err != nil {
		return nil, err
	}
	now := time.Now()
	if err := eachOf(ctx, db, &silences, func(r state.Record[Silence]) error {
		if r.Value.ExpiresAt.Before(now.Add(-24 * time.Hour)) {
			return nil // over, also for a follower that is a day late
		}
		f, err := n.o.Filters.Compile(r.Value.Filter)
		if err != nil {
			n.o.Logger.WarnContext(ctx, "notify: a silence is broken", "id", r.ID, "err", err)
			return nil // it silences nothing
		}
		only, _ := ids(r.Value.Rules) // checked when it was stored
		s.silences = append(s.silences, silence{r.Value, r.ID, f, only})
		return nil
	}); err != nil {
		return nil, err
	}
	if err := eachOf(ctx, db, &templates, func(t state.Record[Template]) error {
		s.templates[event.Type(t.Value.Type)] = &t.Value
		return nil
	}); err != nil {
		return nil, err
	}
	return s, eachOf(ctx, db, &mutes, func(m state.Record[mute]) error {
		s.mutes[m.Value] = true
		return nil
	})
}

func (n *Notify) loadRules(ctx context.Context, db state.Querier, s, old *set) error {
	stored := map[state.ObjectID]*Policy{}
	if err := eachOf(ctx, db, &policies, func(p state.Record[Policy]) error {
		stored[p.ID] = &p.Value
		return nil
	}); err != nil {
		return err
	}
	return eachOf(ctx, db, &rules, func(r state.Record[Rule]) error {
		if !r.Value.Enabled {
			return nil // what it remembered is not true any more when it is on again
		}
		s.known[r.ID] = true
		if was := old.rule(r.ID); was != nil && was.version == r.Version && !was.usesStored() {
			s.add(was)
			return nil
		}
		c, err := n.compile(r.ID, r.Value, func(id state.ObjectID) (*Policy, error) {
			if p := stored[id]; p != nil {
				return p, nil
			}
			return nil, event.NotFoundf("there is no policy %s", id)
		})
		if err != nil {
			n.o.Logger.ErrorContext(ctx, "notify: a rule is broken and tells nothing", "rule", r.Value.Name, "err", err)
			return nil
		}
		c.created, c.version = r.Created, r.Version
		s.add(c)
		return nil
	})
}

func (s *set) add(r *rule) {
	s.rules = append(s.rules, r)
	s.byID[r.id] = r
}

// rule is one of an old set, which may be nil.
func (s *set) rule(id state.ObjectID) *rule {
	if s == nil {
		return nil
	}
	return s.byID[id]
}

// usesStored reports whether a rule may change without a change of its own.
func (r *rule) usesStored() bool {
	return slices.ContainsFunc(r.policies, func(p policy) bool { return p.id != 0 })
}

// isTransient reports whether events of a type are gone after an hour; a rule
// tells of them only where it names the type.
func (n *Notify) isTransient(t event.Type) bool {
	entry, ok := n.o.Catalog.Get(t)
	return ok && entry.Transient
}
