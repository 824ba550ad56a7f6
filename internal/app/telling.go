package app

import (
	"context"
	"errors"
	"os"
	_ "time/tzdata" // quiet hours name time zones, also on machines that have none

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// openNotify makes what tells people.
func (a *App) openNotify(ctx context.Context, key state.Key, filters *filter.Env) (*notify.Notify, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &a.o.Config
	return notify.New(ctx, notify.Options{
		State: a.state, Journal: a.journal, Catalog: a.catalog, Filters: filters, Key: key, Directory: directory{a.identity}, Egress: a.egress,
		SMTP: func() config.SMTP { return a.current.Load().SMTP }, Source: c.PublicURL, PublicURL: c.PublicURL, Host: a.host, Version: a.o.Version,
		Helper: []string{self, "shoutrrr"}, Owner: a.host + ":" + c.Data, Metrics: a.metrics,
		Lag: func(n uint64) { a.metrics.Lag("notify", n) }, Logger: a.log.With("component", "notify"),
	})
}

// directory tells notify who can be told.
type directory struct{ identity *identity.Identity }

// People implements notify.Directory.
func (d directory) People(ctx context.Context) ([]notify.Person, error) {
	const page = 500
	var all []notify.Person
	for after := state.ObjectID(0); ; {
		found, err := d.identity.ListUsers(ctx, after, page)
		if err != nil {
			return nil, err
		}
		for _, u := range found {
			after = u.ID
			if u.Value.State() == "active" {
				all = append(all, person(u))
			}
		}
		if len(found) < page {
			return all, nil
		}
	}
}

// Person implements notify.Directory.
func (d directory) Person(ctx context.Context, id state.ObjectID) (notify.Person, bool, error) {
	u, err := d.identity.GetUser(ctx, id)
	if errors.Is(err, event.ErrNotFound) {
		return notify.Person{}, false, nil
	}
	return person(u), err == nil && u.Value.State() == "active", err
}

func person(u state.Record[identity.User]) notify.Person {
	return notify.Person{ID: u.ID, Username: u.Value.Username, Name: u.Value.Name, Email: u.Value.Email, Level: string(u.Value.AccessLevel), Groups: u.Value.Groups}
}
