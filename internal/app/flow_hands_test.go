package app

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// built is a server that is not running: only what it records is carried on.
func built(t *testing.T, change func(*config.Config)) *App {
	t.Helper()
	c := config.Default()
	c.Data, c.Listen = t.TempDir(), "127.0.0.1:0"
	change(&c)
	if problems := c.Validate(); problems != nil {
		t.Fatal(problems)
	}
	a, err := New(t.Context(), Options{Version: "test", Config: c, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.close(); err != nil {
			t.Error(err)
		}
	})
	a.state.SetRecorder(a.outbox.Record)
	return a
}

// recorded are the events of a type.
func (a *App) recorded(t *testing.T, of event.Type) (found []event.Event) {
	t.Helper()
	hits, err := a.journal.After(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hits {
		e, err := event.DecodeStored(h.Body)
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == of {
			found = append(found, e)
		}
	}
	return found
}

// What flows ask of other parts of the server is really done, once, by the flow's
// account.
func TestFlowHands(t *testing.T) {
	a := built(t, func(*config.Config) {})
	ctx, h := t.Context(), flowHands{a.notify, a.identity}
	by := state.Cause{AuthType: "service_account", AuthID: "flow/3", AuthName: "guard", CorrelationID: "c", CausationID: "e"}
	admin := &identity.Principal{AuthType: "user", User: 99, Scopes: []identity.Scope{identity.Admin}}
	eve, err := a.identity.CreateUser(ctx, state.System(), admin, identity.UserInput{Username: "eve", AccessLevel: identity.Viewer})
	if err != nil {
		t.Fatal(err)
	}
	root, err := a.identity.CreateUser(ctx, state.System(), admin, identity.UserInput{Username: "root", AccessLevel: identity.Administ})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.notify.CreateTransport(ctx, state.System(), notify.TransportInput{Name: "People", Mode: notify.Inbox}); err != nil {
		t.Fatal(err)
	}
	disk := notify.NewRule()
	disk.Name = "Disk"
	rule, err := a.notify.CreateRule(ctx, state.System(), disk)
	if err != nil {
		t.Fatal(err)
	}

	for range 2 { // the second time is after a crash
		if err := h.Notify(ctx, by, "run/do/0/tell", flow.Telling{Recipients: []string{"root"}, Title: "eve is at it again", Severity: event.Error}); err != nil {
			t.Fatal(err)
		}
		if err := h.Suspend(ctx, by, "eve", "40 failed logins"); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Silence(ctx, by, "disk", "true", "why", time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	items, err := a.notify.InboxOf(ctx, root.ID, 0, false, 10)
	if err != nil || len(items) != 1 || items[0].Title != "eve is at it again" {
		t.Errorf("the inbox has %+v, %v", items, err)
	}
	now, err := a.identity.GetUser(ctx, eve.ID)
	told := a.recorded(t, "user.suspended")
	if err != nil || !now.Value.Suspended || len(told) != 1 || told[0].AuthType != "service_account" || told[0].AuthID != "flow/3" || told[0].CausationID != "e" || !strings.Contains(string(told[0].Data), "40 failed logins") {
		t.Errorf("suspended: %t, %v, recorded %+v", now.Value.Suspended, err, told)
	}
	silences, err := a.notify.ListSilences(ctx, 0, 10)
	if err != nil || len(silences) != 1 || silences[0].Value.CreatedBy != "guard" || silences[0].Value.Rules[0] != rule.ID.String() {
		t.Errorf("silences: %+v, %v", silences, err)
	}

	for what, err := range map[string]error{
		"nobody":                 h.Suspend(ctx, by, "mallory", ""),
		"no rule":                second(h.Silence(ctx, by, "Dusk", "true", "", time.Now().Add(time.Hour))),
		"no filter":              second(h.Silence(ctx, by, "", "", "", time.Now().Add(time.Hour))),
		"the last administrator": h.Suspend(ctx, by, "root", ""),
	} {
		if !errors.Is(err, event.ErrNotFound) && !errors.Is(err, event.ErrInvalid) && !errors.Is(err, event.ErrConflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if now, err := a.identity.GetUser(ctx, root.ID); err != nil || now.Value.Suspended {
		t.Errorf("the last administrator is suspended: %v", err)
	}
}

func second(_ string, err error) error { return err }

// The limits are those of the configuration of the moment, and secrets reach flows.
func TestFlowLimits(t *testing.T) {
	a := built(t, func(c *config.Config) {
		c.Flows.MaxSteps, c.Flows.Commands = 7, map[string][]string{"x": {"/bin/true"}}
	})
	if l := a.flowLimits(); l.MaxSteps != 7 || l.MaxTime != time.Minute || len(l.Commands["x"]) != 1 {
		t.Errorf("%+v", l)
	}
	next := *a.current.Load()
	next.Flows.MaxSteps = 9
	a.current.Store(&next)
	if l := a.flowLimits(); l.MaxSteps != 9 {
		t.Errorf("after a reload: %+v", l)
	}
	if _, err := a.flow.CreateSecret(t.Context(), state.System(), "pin", json.RawMessage(`"1234"`)); err != nil {
		t.Error(err)
	}
}
