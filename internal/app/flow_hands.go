package app

import (
	"context"
	"errors"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// flowLimits are those of the configuration of this moment.
func (a *App) flowLimits() flow.Limits {
	c := &a.current.Load().Flows
	return flow.Limits{MaxSteps: c.MaxSteps, MaxTime: time.Duration(c.MaxTime), Commands: c.Commands}
}

// flowHands is what flows do with other parts of the server. Each of them may be
// asked for the same thing twice, after a crash or where the record was not to be
// had, and then does it once.
type flowHands struct {
	notify   *notify.Notify
	identity *identity.Identity
}

// Notify implements flow.Notifier.
func (h flowHands) Notify(ctx context.Context, by state.Cause, key string, to flow.Telling) error {
	return h.notify.Tell(ctx, by, notify.Direct{
		Key: key, From: "flow " + by.AuthName, Rule: to.Rule, Transports: to.Transports, Recipients: to.Recipients,
		Severity: to.Severity, Title: to.Title, Text: to.Text, Sequence: to.Sequence,
	})
}

// Silence implements flow.Silencer. A rule is named by its name or id; empty for
// all of them.
func (h flowHands) Silence(ctx context.Context, by state.Cause, rule, filter, comment string, until time.Time) (string, error) {
	s := notify.Silence{Filter: filter, ExpiresAt: until, Comment: comment}
	if rule != "" {
		r, err := h.notify.FindRule(ctx, rule)
		if err != nil {
			return "", err
		}
		s.Rules = []string{r.ID.String()}
	}
	made, err := h.notify.Prolong(ctx, by, s)
	return made.ID.String(), err
}

// Suspend implements flow.Suspender. Who is suspended already stays so.
func (h flowHands) Suspend(ctx context.Context, by state.Cause, user, reason string) error {
	u, err := h.identity.FindUser(ctx, user)
	if err != nil || u.Value.Suspended {
		return err
	}
	// The engine has made sure of the flow's scope.
	who := &identity.Principal{AuthType: by.AuthType, ID: by.AuthID, Name: by.AuthName, Scopes: []identity.Scope{identity.Admin}}
	_, err = h.identity.Suspend(ctx, by, who, u.ID, state.AnyVersion, reason)
	if !errors.Is(err, event.ErrConflict) {
		return err
	}
	if now, again := h.identity.GetUser(ctx, u.ID); again == nil && now.Value.Suspended {
		return nil // somebody else was quicker
	}
	return err // such as the last administrator
}
