package notify

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Person is a user who can be told.
type Person struct {
	ID                    state.ObjectID
	Username, Name, Email string
	Level                 string
	Groups                []string // ids
}

// Directory knows everybody who is active.
type Directory interface {
	People(ctx context.Context) ([]Person, error)
	// Person is one of them; false where there is none.
	Person(ctx context.Context, id state.ObjectID) (Person, bool, error)
}

// people finds persons.
type people struct {
	byID   map[state.ObjectID]*Person
	byName map[string]*Person
	all    []Person
}

func newPeople(all []Person) *people {
	p := &people{byID: map[state.ObjectID]*Person{}, byName: map[string]*Person{}, all: all}
	for i := range all {
		p.byID[all[i].ID], p.byName[all[i].Username] = &all[i], &all[i]
	}
	return p
}

// named finds a person by id or username.
func (p *people) named(text string) *Person {
	if id, err := state.ParseID(text); err == nil && p.byID[id] != nil {
		return p.byID[id]
	}
	return p.byName[text]
}

// actor is the user who caused an event; nil where it was nobody known.
func (p *people) actor(e *event.Event) *Person {
	if e.AuthType != "" && e.AuthType != "user" && e.AuthType != "api_key" {
		return nil
	}
	if who := p.named(e.AuthID); who != nil {
		return who
	}
	return p.byName[e.AuthName]
}

// subjectOf is the user whom an event is about: its subject is user/ID.
func (p *people) subjectOf(e *event.Event) *Person {
	id, ok := strings.CutPrefix(e.Subject, "user/")
	if !ok {
		return nil
	}
	return p.named(id)
}

// audience is a compiled Recipients.
type audience struct {
	Recipients
	expression *filter.Expression
}

func (n *Notify) audience(r Recipients) (*audience, error) {
	a := &audience{Recipients: r}
	if r.Expression == "" {
		return a, nil
	}
	x, err := n.o.Filters.CompileExpression(r.Expression)
	if err != nil {
		return nil, event.Invalidf("recipients.expression: %w", err)
	}
	a.expression = x
	return a, nil
}

// always are the persons who do not depend on the event, by id.
func (a *audience) always(p *people) []state.ObjectID {
	var found []state.ObjectID
	for i := range p.all {
		who := &p.all[i]
		if slices.Contains(a.Users, who.ID.String()) || slices.Contains(a.AccessLevels, who.Level) ||
			slices.ContainsFunc(who.Groups, func(g string) bool { return slices.Contains(a.Groups, g) }) {
			found = append(found, who.ID)
		}
	}
	return found
}

// ofEvent are the persons whom the event names: actor, subject, expression.
func (a *audience) ofEvent(p *people, s *subject) ([]state.ObjectID, error) {
	var found []state.ObjectID
	add := func(who *Person) {
		if who != nil && !slices.Contains(found, who.ID) {
			found = append(found, who.ID)
		}
	}
	if a.Actor {
		add(p.actor(s.Event))
	}
	if a.Subject {
		add(p.subjectOf(s.Event))
	}
	if a.expression != nil {
		value, err := a.expression.Eval(s.input(), nil)
		if err != nil {
			return found, err
		}
		list, ok := value.([]any)
		if !ok {
			return found, event.Invalidf("recipients.expression: must give a list of usernames or ids, not %T", value)
		}
		for _, one := range list {
			add(p.named(fmt.Sprint(one)))
		}
	}
	slices.Sort(found)
	return found, nil
}
