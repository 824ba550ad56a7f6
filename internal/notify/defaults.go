package notify

import (
	"context"
	"errors"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Names of what a new installation has.
const (
	defaultInbox = "Inbox"
	defaultEmail = "default-email-transport" // seed 003
)

// defaultsFact notes that the defaults were made, so that who removes them has
// removed them.
const (
	defaultsFact = "notify.defaults"
	emailFact    = "notify.email"

	suspiciousEvery = config.Duration(time.Hour)
)

// Defaults makes what a new installation tells by itself: to the administrators'
// inbox, and by mail as soon as a mail server is configured.
func (n *Notify) Defaults(ctx context.Context) error {
	done, err := n.o.State.Fact(ctx, defaultsFact)
	if err != nil {
		return err
	}
	if done == "" {
		if err := n.defaultRules(ctx); err != nil {
			return err
		}
		if err := n.o.State.SetFact(ctx, defaultsFact, "yes"); err != nil {
			return err
		}
	}
	if done, err = n.o.State.Fact(ctx, emailFact); err != nil || done != "" || n.o.SMTP().Host == "" {
		return err
	}
	if err := n.addEmail(ctx); err != nil {
		return err
	}
	return n.o.State.SetFact(ctx, emailFact, "yes")
}

func (n *Notify) defaultRules(ctx context.Context) error {
	inbox, err := ifNew(n.CreateTransport(ctx, state.System(), TransportInput{Name: defaultInbox, Mode: Inbox}))
	if err != nil || inbox == 0 {
		return err
	}
	for _, r := range []Rule{
		{Name: "Critical and error events", Severity: event.Error.String(), Types: []string{"*"}},
		{Name: "Updates", Types: []string{"update_available"}},
		{Name: "Suspicious requests", Types: []string{"suspicious_request"}, RepeatEvery: suspiciousEvery},
	} {
		r.Enabled, r.Mode, r.Transports = true, Any, []string{inbox.String()}
		r.Routing = r.RepeatEvery == 0
		r.Recipients.AccessLevels = []string{"admin"}
		if _, err := ifNew(n.CreateRule(ctx, state.System(), r)); err != nil {
			return err
		}
	}
	return nil
}

// addEmail makes the default transport for mails and lets the rules of the
// administrators use it.
func (n *Notify) addEmail(ctx context.Context) error {
	email, err := ifNew(n.CreateTransport(ctx, state.System(), TransportInput{Name: defaultEmail, Mode: "email"}))
	if err != nil || email == 0 {
		return err
	}
	r, err := rules.Find(ctx, n.o.State.Reader(), "name", "critical and error events")
	if errors.Is(err, event.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = n.UpdateRule(ctx, state.System(), r.ID, state.AnyVersion, func(r *Rule) error {
		r.Transports = append(r.Transports, email.String())
		return nil
	})
	return err
}

// ifNew is the id of what was made; 0 where something of that name is there.
func ifNew[T any](made state.Record[T], err error) (state.ObjectID, error) {
	if errors.Is(err, event.ErrConflict) {
		return 0, nil
	}
	return made.ID, err
}
