package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
)

// drop puts a file into a folder as programs should: under another name, renamed.
func drop(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, ".tmp"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, ".tmp"), filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// filesIn are the files at and below a folder.
func filesIn(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// looks looks once.
func looks(t *testing.T, s *stage, options string) bool {
	t.Helper()
	f := opens(t, "folder", options).source.(*folder)
	return f.look(t.Context(), &s.Env, newGiver(&s.Env, "folder"), time.Now())
}

// A file with a mistake is set aside with the reason, and nothing of it is recorded.
func TestFolderBad(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside.json")
	if err := os.WriteFile(outside, []byte(`{"type":"stolen"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link.json")); err != nil {
		t.Fatal(err)
	}
	drop(t, dir, "half.ndjson", "{\"type\":\"a\"}\n{\"type\":\"b\"")
	drop(t, dir, "huge.json", `{"type":"a","data":"`+strings.Repeat("x", 2000)+`"}`)
	drop(t, dir, "two.json", `{"type":"a"} {"type":"b"}`)
	drop(t, dir, "array.json", `[{"type":"a"},{"type":"disk_full"}]`)
	drop(t, dir, "other.txt", "not for us")
	drop(t, dir, ".hidden.json", "{")
	if err := os.Mkdir(filepath.Join(dir, "folder.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := newStage()
	problem := s.problems()
	options := "{paths: [" + dir + "], max_size: 1kB}"
	looks(t, s, options)
	if events := s.take(t); len(events) != 0 {
		t.Errorf("%d events", len(events))
	}
	want := []string{
		".hidden.json", "bad/array.json", "bad/array.json.reason", "bad/half.ndjson", "bad/half.ndjson.reason", "bad/huge.json", "bad/huge.json.reason",
		"bad/link.json", "bad/link.json.reason", "bad/two.json", "bad/two.json.reason", "other.txt",
	}
	if diff := cmp.Diff(want, filesIn(t, dir)); diff != "" {
		t.Error(diff)
	}
	for name, says := range map[string]string{
		"half.ndjson": "line 2: ", "huge.json": "max_size is 1000", "two.json": "more than one JSON value", "array.json": "event 2: ", "link.json": "symbolic link",
	} {
		reason, err := os.ReadFile(filepath.Join(dir, "bad", name+".reason"))
		if err != nil || !strings.Contains(string(reason), says) || !strings.Contains(*problem, says) {
			t.Errorf("%s: %s, %v, want %q; shown: %s", name, reason, err, says, *problem)
		}
	}
	drop(t, dir, "two.json", `{"type":"a"} {"type":"b"}`)
	looks(t, s, options)
	if _, err := os.Stat(filepath.Join(dir, "bad", "two.json.1")); err != nil {
		t.Errorf("a file of the same name is overwritten: %v", err)
	}
}

// What is being written is left alone until it is whole; what could not be
// recorded stays; what is met again after a crash has the same ids.
func TestFolderWhole(t *testing.T) {
	dir := t.TempDir()
	s := newStage()
	problem := s.problems()
	options := "{paths: [" + dir + "], after: done, settle: 1h}"
	w, err := os.Create(filepath.Join(dir, "slow.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	if !looks(t, s, options) {
		t.Error("a file that is open is not waited for")
	}
	if _, err := w.WriteString("{\"type\":\"a\"}\n"); err != nil {
		t.Fatal(err)
	}
	if !looks(t, s, options) || len(s.take(t)) != 0 {
		t.Error("a file is taken before it is whole")
	}
	if _, err := w.WriteString("{\"type\":\"b\"}\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s.fail = event.Unavailablef("disk full")
	looks(t, s, options)
	if !strings.Contains(*problem, "slow.ndjson waits: ") {
		t.Errorf("shown: %s", *problem)
	}
	s.fail = nil
	if os.Getuid() != 0 {
		t.Skip("the kernel gives leases on its own files only")
	}
	info, err := os.Stat(filepath.Join(dir, "slow.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	looks(t, s, options)
	events := s.take(t)
	if len(events) != 2 || events[0].Type != "a" || !events[0].Time.Equal(info.ModTime()) || *problem != "" {
		t.Fatalf("%+v %s", events, *problem)
	}
	// As after a crash between recording and moving.
	if err := os.Rename(filepath.Join(dir, "done", "slow.ndjson"), filepath.Join(dir, "slow.ndjson")); err != nil {
		t.Fatal(err)
	}
	looks(t, s, options)
	if again := s.take(t); len(again) != 2 || again[0].ID != events[0].ID || again[1].ID == again[0].ID || !again[1].Time.Equal(events[1].Time) {
		t.Errorf("%+v, before %+v", again, events)
	}
}

// A folder that is not there is said, and used when it comes; files are noticed by
// themselves.
func TestFolderAbsent(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "drop")
	s := newStage()
	stop := s.runs(t, opens(t, "folder", "{paths: ["+dir+"], interval: 1s}").source)
	s.until(t, "it is said", func() bool { return s.status == Unavailable && strings.Contains(s.lacks, dir) })
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.until(t, "it is there", func() bool { return s.status == Running })
	for i := range 1000 {
		drop(t, dir, fmt.Sprintf("%04d.json", i), fmt.Sprintf(`{"type":"n","subject":"%d"}`, i))
	}
	s.until(t, "all files", func() bool { return len(s.events) == 1000 })
	stop()
	if left := filesIn(t, dir); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

// Whoever may put files into the folder makes the server write nowhere else: neither
// the folder of bad files nor a reason in it is followed where it is a link.
func TestFolderLinks(t *testing.T) {
	precious := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	err := os.Mkdir(filepath.Join(dir, "bad"), 0o700)
	if err == nil {
		err = os.Symlink(precious, filepath.Join(dir, "bad", "x.json.reason"))
	}
	if err != nil {
		t.Fatal(err)
	}
	drop(t, dir, "x.json", "{")
	looks(t, newStage(), "{paths: ["+dir+"]}")
	if reason, err := os.ReadFile(filepath.Join(dir, "bad", "x.json.reason")); err != nil || !strings.Contains(string(reason), "not JSON") {
		t.Errorf("the reason: %s, %v", reason, err)
	}

	dir = t.TempDir()
	if err := os.Symlink(filepath.Dir(precious), filepath.Join(dir, "bad")); err != nil {
		t.Fatal(err)
	}
	drop(t, dir, "y.json", "{")
	s := newStage()
	problem := s.problems()
	looks(t, s, "{paths: ["+dir+"]}")
	if !strings.Contains(*problem, "y.json") {
		t.Errorf("shown: %s", *problem)
	}
	if content, err := os.ReadFile(precious); err != nil || string(content) != "precious" {
		t.Errorf("it was written through a link: %q, %v", content, err)
	}
	if left := filesIn(t, filepath.Dir(precious)); len(left) != 1 {
		t.Errorf("it was moved through a link: %v", left)
	}
}

// A file that is put into the place of one that is just being recorded is taken, too.
func TestFolderReplaced(t *testing.T) {
	dir := t.TempDir()
	s := newStage()
	drop(t, dir, "state.json", `{"type":"one"}`)
	f := opens(t, "folder", "{paths: ["+dir+"], settle: 0s}").source.(*folder)
	emit := s.Emit
	s.Emit = func(ctx context.Context, events ...event.Event) error {
		if events[0].Type == "one" {
			drop(t, dir, "state.json", `{"type":"two"}`)
		}
		return emit(ctx, events...)
	}
	for range 2 {
		f.look(t.Context(), &s.Env, newGiver(&s.Env, "folder"), time.Now())
	}
	var types []string
	for _, e := range s.take(t) {
		types = append(types, string(e.Type))
	}
	if diff := cmp.Diff([]string{"one", "two"}, types); diff != "" {
		t.Error(diff)
	}
}

func TestFolderOptions(t *testing.T) {
	for text, says := range map[string]string{
		"paths: [/srv/drop], after: done, max_size: 1MiB": "",
		"paths: [drop]":    "absolute",
		"after: burn":      "remove or done",
		"interval: 10ms":   "shorter than 1s",
		"max_size: 1000GB": "out of range",
	} {
		_, err := Open(options(t, "folder: {"+text+"}"), Env{}, nil)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}
