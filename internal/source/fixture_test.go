package source

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
)

// stage is where a source runs while a test plays the rest of the host. What it
// remembers outlives a run, as in the state database.
type stage struct {
	Env
	some chan struct{} // has room for one: something happened

	mu     sync.Mutex // guards all below
	events []event.Event
	stored map[string]string
	status Status
	lacks  string
	looks  int
	fail   error
}

func newStage() *stage {
	s := &stage{some: make(chan struct{}, 1), stored: map[string]string{}}
	s.Env = Env{
		Host: "web-17", Base: "https://t.example", Version: "1.2.3", Log: slog.New(slog.DiscardHandler), Memory: s, HTTP: http.DefaultClient,
		Emit: func(_ context.Context, events ...event.Event) error {
			return s.note(func() {
				if s.fail == nil {
					s.events = append(s.events, events...)
				}
			})
		},
		Told:    func() {},
		Problem: func(error) {},
		Status: func(status Status, lacks string) {
			_ = s.note(func() { s.status, s.lacks, s.looks = status, lacks, s.looks+1 })
		},
	}
	return s
}

// note changes what is known, and wakes who waits.
func (s *stage) note(change func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	select {
	case s.some <- struct{}{}:
	default:
	}
	return s.fail
}

func (s *stage) Load(_ context.Context, key string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored[key], nil
}

func (s *stage) Store(_ context.Context, key, value string) error {
	return s.note(func() { s.stored[key] = value })
}

// until waits until a condition holds of what is known.
func (s *stage) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		ok := holds()
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-s.some:
		case <-deadline.C:
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, e := range s.events {
				t.Logf("%s", e.AppendJSON(nil))
			}
			t.Fatalf("%s: not in time; %s %q, %d events, %v", what, s.status, s.lacks, len(s.events), s.stored)
		}
	}
}

// runs runs a source until the function that is returned is called.
func (s *stage) runs(t *testing.T, one Source) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- one.Run(ctx, &s.Env) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// take gives the events so far, and forgets them. Each must fit the catalog.
func (s *stage) take(t *testing.T) []event.Event {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	c := catalog.New()
	for _, e := range s.events {
		if m := c.Check(&e); m != nil && !m.Unknown {
			t.Errorf("%s does not fit the catalog: %v", e.Type, m)
		}
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", e.Type, err)
		}
	}
	events := s.events
	s.events = nil
	return events
}

// opens opens a source with options.
func opens(t *testing.T, name, options string) opened {
	t.Helper()
	var raw yaml.Node
	if err := yaml.Unmarshal([]byte(options), &raw); err != nil {
		t.Fatal(err)
	}
	var options1 *yaml.Node
	if len(raw.Content) > 0 {
		options1 = raw.Content[0]
	}
	for _, d := range definitions {
		if d.name != name {
			continue
		}
		o, enabled, err := d.open(options1)
		if err != nil || !enabled {
			t.Fatalf("%s: enabled %t, %v", name, enabled, err)
		}
		return o
	}
	t.Fatalf("no source is called %s", name)
	return opened{}
}

// TestFixtures plays every file of testdata/*.txtar to the source that its name
// begins with (aide_diff.txtar, folder-bad.txtar). docs/custom-source.md describes
// the format.
func TestFixtures(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil || len(paths) < 6 {
		t.Fatalf("%d fixtures, %v", len(paths), err)
	}
	for _, path := range paths {
		name, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".txtar"), "-")
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			(&fixture{files: archive.Files, dir: t.TempDir(), stage: newStage()}).play(t, name)
		})
	}
}

// fixture is one file of testdata.
type fixture struct {
	files []txtar.File
	dir   string
	stage *stage
}

func (f *fixture) play(t *testing.T, name string) {
	t.Helper()
	config, want := "", []map[string]any{}
	for _, file := range f.files {
		switch file.Name {
		case "config.yaml":
			config = f.text(file.Data)
		case "events.json":
			if err := json.Unmarshal([]byte(f.text(file.Data)), &want); err != nil {
				t.Fatalf("events.json: %v", err)
			}
		}
	}
	f.write(t, "before/")
	if one := opens(t, name, config); one.push != nil {
		f.send(t, name, one.push)
	} else {
		stop := f.stage.runs(t, one.source)
		f.stage.until(t, "the first look", func() bool { return f.stage.looks > 0 })
		f.write(t, "input/")
		f.stage.until(t, "all events", func() bool { return len(f.stage.events) >= len(want) })
		stop()
	}
	var got []map[string]any
	for _, e := range f.stage.take(t) {
		var one map[string]any
		if err := json.Unmarshal(e.AppendJSON(nil), &one); err != nil {
			t.Fatal(err)
		}
		got = append(got, one)
	}
	about := func(a, b map[string]any) int { // parts of a source may be told in any order
		return cmp.Compare(fmt.Sprint(a["type"], a["subject"]), fmt.Sprint(b["type"], b["subject"]))
	}
	slices.SortStableFunc(want, about)
	slices.SortStableFunc(got, about)
	for i := range want {
		if i < len(got) {
			overlook(want[i], got[i], true)
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// text puts the folder of the run in the place of $DIR.
func (f *fixture) text(data []byte) string {
	return strings.ReplaceAll(string(data), "$DIR", f.dir)
}

// write writes the files of a part, in their order, each at once as programs do
// that rename a file into its place; what is there already is appended to.
func (f *fixture) write(t *testing.T, part string) {
	t.Helper()
	for _, file := range f.files {
		name, ok := strings.CutPrefix(file.Name, part)
		if !ok {
			continue
		}
		path := filepath.Join(f.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if old, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0); err == nil {
			_, err = old.WriteString(f.text(file.Data))
			if err := errors.Join(err, old.Close()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path+".tmp", []byte(f.text(file.Data)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".tmp", path); err != nil {
			t.Fatal(err)
		}
	}
}

// send gives each request of the fixture to a source that takes them.
func (f *fixture) send(t *testing.T, name string, push Push) {
	t.Helper()
	in := &Inlet{&member{push: push, row: Row{Name: name}}, f.stage.Base}
	for _, file := range f.files {
		if !strings.HasPrefix(file.Name, "request/") {
			continue
		}
		head, body, ok := bytes.Cut(file.Data, []byte("\n\n"))
		if !ok {
			t.Fatalf("%s: an empty line must stand between headers and body", file.Name)
		}
		r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader("POST / HTTP/1.1\nHost: t.example\n"), bytes.NewReader(head), strings.NewReader("\n\n"))))
		if err != nil {
			t.Fatal(err)
		}
		request := &Request{Header: r.Header, Body: bytes.TrimSuffix(body, []byte("\n")), Received: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
		if err := in.Receive(request, func(events []event.Event) error { return f.stage.Emit(t.Context(), events...) }); err != nil {
			t.Fatalf("%s: %v", file.Name, err)
		}
	}
}

// overlook takes out of what was got what the fixture does not name: attributes
// of the event, and members whose value is "*" there.
func overlook(want, got map[string]any, attributes bool) {
	for name, value := range got {
		asked, named := want[name]
		inner, isObject := asked.(map[string]any)
		have, both := value.(map[string]any)
		switch {
		case !named && attributes:
			delete(got, name)
		case asked == "*":
			got[name] = "*"
		case isObject && both:
			overlook(inner, have, false)
		}
	}
}

// sorted is what some events say, without what differs from run to run.
func sorted(t *testing.T, events []event.Event, fields ...string) []string {
	t.Helper()
	r := &recorder{events: events}
	all := r.told(t, fields...)
	slices.Sort(all)
	return all
}
