package flow

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin-events/tocsin/internal/state"
)

// with puts a schedule block into a document.
func with(document, block string) string {
	return strings.Replace(document, "do:\n", "schedule: "+block+"\ndo:\n", 1)
}

// The schedule block of a document is a trigger, which changes and goes with it.
func TestBlocks(t *testing.T) {
	k := newKit(t)
	document := named("timed", `- it: {emit: {event: {with: {type: ticked, data: "${ {n: (. | length)} }"}}}}`+"\n")
	id := k.flow(with(document, "{every: {seconds: 1}}"))
	k.comes("ticked", 2)
	update := func(text string) {
		t.Helper()
		if _, err := k.UpdateFlow(t.Context(), state.System(), id, state.AnyVersion, text); err != nil {
			t.Fatal(err)
		}
	}
	only := func() *Trigger {
		t.Helper()
		all, err := k.ListTriggers(t.Context(), 0, 10)
		if err != nil || len(all) > 1 {
			t.Fatalf("%d triggers, %v", len(all), err)
		}
		if len(all) == 0 {
			return nil
		}
		return &all[0].Value
	}
	update(with(document, "{after: {seconds: 1}}"))
	if tr := only(); tr == nil || tr.After == 0 || tr.Every != 0 || tr.Origin != id.String() {
		t.Errorf("%+v", tr)
	}
	k.comes("ticked", len(k.all("ticked"))+2)

	update(with(document, "{on: {all: [{with: {type: bell_rung}}, {with: {type: door_opened}}]}}"))
	if tr := only(); tr == nil || tr.Kind != OnEvent || len(tr.Types) != 2 {
		t.Fatalf("%+v", tr)
	}
	n := len(k.all("ticked"))
	k.emits("bell_rung", "1", `{}`)
	k.emits("bell_rung", "2", `{}`)
	k.stop()
	k = openKit(t, k.dir)
	k.emits("door_opened", "3", `{}`)
	last := k.comes("ticked", n+1)
	if got := string(last[n].Data); got != `{"n":2}` {
		t.Errorf("input of both events: %s", got)
	}

	update(document)
	if tr := only(); tr != nil {
		t.Errorf("%+v", tr)
	}
	update(with(document, "{cron: '0 3 * * *'}"))
	if tr := only(); tr == nil || tr.Cron != "0 3 * * *" {
		t.Errorf("%+v", tr)
	}
	if err := k.DeleteFlow(t.Context(), state.System(), id, state.AnyVersion); err != nil {
		t.Fatal(err)
	}
	if tr := only(); tr != nil {
		t.Errorf("%+v", tr)
	}
}

// Flows follow their files; what is changed here is kept and shown.
func TestFolder(t *testing.T) {
	k := newKit(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "one.yaml")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flows := func() map[string]Definition {
		t.Helper()
		all, err := k.ListFlows(t.Context(), 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]Definition{}
		for _, r := range all {
			found[r.Value.Name] = r.Value
		}
		return found
	}
	sync := func() {
		t.Helper()
		if err := k.SyncFolder(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	write(file, named("one", "- it: {set: {a: 1}}\n"))
	write(filepath.Join(dir, "bad.yml"), "not: [a flow")
	write(filepath.Join(dir, ".hidden.yaml"), "x")
	write(filepath.Join(dir, "notes.txt"), "x")
	hand := k.flow(named("by-hand", "- it: {set: {a: 1}}\n"))
	sync()
	sync()
	found := flows()
	if len(found) != 3 || found["one"].State != Valid || found["unnamed"].State != Invalid || found["one"].Source != "one.yaml" {
		t.Fatalf("%+v", found)
	}
	all, err := k.ListFlows(t.Context(), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Value.Name == "one" {
			if _, err := k.UpdateFlow(t.Context(), state.System(), r.ID, state.AnyVersion, named("one", "- it: {set: {a: 2}}\n")); err != nil {
				t.Fatal(err)
			}
		}
	}
	sync()
	one := flows()["one"]
	if !one.Drifted() || !strings.Contains(one.Document, "a: 2") {
		t.Errorf("what was changed here: drifted %v\n%s", one.Drifted(), one.Document)
	}
	write(file, named("one", "- it: {set: {a: 3}}\n"))
	sync()
	if one = flows()["one"]; one.Drifted() || !strings.Contains(one.Document, "a: 3") {
		t.Errorf("what was changed in the file: drifted %v\n%s", one.Drifted(), one.Document)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	sync()
	if found = flows(); len(found) != 2 {
		t.Errorf("%+v", found)
	}
	if _, err := k.GetFlow(t.Context(), hand); err != nil {
		t.Error(err)
	}

	// And by itself.
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.WatchFolder(ctx, func() string { return dir }) }()
	changed := k.Changed()
	write(file, named("back", "- it: {set: {a: 1}}\n"))
	for flows()["back"].State != Valid {
		<-changed
		changed = k.Changed()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
