package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// log is a log file in a folder, and somebody who reads it.
type log struct {
	t     *testing.T
	path  string
	place string
	every string // what the name ends in besides .log

	mu   sync.Mutex // guards got and present
	got  []string
	some chan struct{}

	present []string
}

func newLog(t *testing.T) *log {
	t.Helper()
	return &log{t: t, path: filepath.Join(t.TempDir(), "some.log"), some: make(chan struct{}, 1)}
}

func (l *log) write(text string) {
	l.t.Helper()
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *log) rename(to string) {
	l.t.Helper()
	if err := os.Rename(l.path, l.path+to); err != nil {
		l.t.Fatal(err)
	}
}

// reading reads while during runs, and stops when as many lines came as are
// wanted; they are compared.
func (l *log) reading(during func(), want ...string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	began := make(chan struct{})
	var once sync.Once
	var all sync.WaitGroup
	all.Go(func() {
		err := Run(ctx, Options{Patterns: []string{filepath.Join(filepath.Dir(l.path), "*.log"+l.every)}, Present: func(n int, err error) {
			l.present = append(l.present, fmt.Sprint(n, err))
		}}, l.place, func(_ context.Context, lines []Line, place string) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			for _, line := range lines {
				l.got = append(l.got, line.Text)
			}
			l.place = place
			if len(l.got) >= len(want) && lines != nil {
				l.some <- struct{}{}
			}
			if lines == nil {
				once.Do(func() { close(began) })
			}
			return nil
		})
		if err != nil {
			l.t.Error(err)
		}
	})
	<-began
	during()
	if len(want) > 0 {
		select {
		case <-l.some:
		case <-ctx.Done():
		}
	}
	cancel()
	all.Wait()
	if diff := cmp.Diff(want, l.got); diff != "" {
		l.t.Fatal(diff)
	}
	l.got = nil
}

// wait waits until a line was given.
func (l *log) wait(line string) {
	l.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		l.mu.Lock()
		there := slices.Contains(l.got, line)
		l.mu.Unlock()
		if there {
			return
		}
	}
	l.t.Errorf("%q was not given", line)
}

func nothing() {}

func TestLife(t *testing.T) {
	l := newLog(t)
	l.write("before\n")
	l.reading(nothing) // what was there is not told
	l.write("while nobody reads\nhalf")
	l.reading(nothing, "while nobody reads")
	l.write(" a line\r\n")
	l.reading(func() { l.write("and one \xff more\n") }, "half a line", "and one \uFFFD more")

	l.write("last of the old\n")
	l.rename(".1")
	l.write("first of the new\n")
	l.reading(nothing, "last of the old", "first of the new")

	l.write("before the second rotation\n")
	l.rename(".2")
	l.reading(nothing, "before the second rotation")
	l.reading(func() { l.write("appears\n") }, "appears")

	if err := os.Truncate(l.path, 0); err != nil {
		t.Fatal(err)
	}
	l.write("longer than what was there before\n")
	l.reading(nothing, "longer than what was there before")
	if err := os.Remove(l.path); err != nil {
		t.Fatal(err)
	}
	l.reading(nothing)
	l.write("back\n")
	l.reading(nothing, "back")
}

// A rotation while somebody reads.
func TestRotationUnderWay(t *testing.T) {
	l := newLog(t)
	l.write("x\n")
	l.reading(func() {
		l.write("one\n")
		l.rename(".1")
		l.write("two\nthree\n")
	}, "one", "two", "three")
}

func TestLongLine(t *testing.T) {
	l := newLog(t)
	l.reading(nothing)
	long := strings.Repeat("x", 5*Longest)
	l.write(long)
	l.reading(nothing, long[:Longest])
	l.write(long + "\nnext\n" + long[:Longest+1] + "\nlast\n")
	l.reading(nothing, "next", long[:Longest], "last")
}

func TestMany(t *testing.T) {
	l := newLog(t)
	l.reading(nothing)
	var text bytes.Buffer
	var want []string
	for n := range 10_000 {
		want = append(want, fmt.Sprint("line ", n))
		text.WriteString(want[n] + "\n")
	}
	l.write(text.String())
	l.reading(nothing, want...)
}

func TestPresent(t *testing.T) {
	l := newLog(t)
	l.reading(func() { l.write("a\n") }, "a")
	if err := os.Mkdir(filepath.Join(filepath.Dir(l.path), "folder.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	l.write("b\n")
	l.reading(nothing, "b")
	if diff := cmp.Diff([]string{"0 <nil>", "1 <nil>", "1 <nil>"}, l.present); diff != "" {
		t.Error(diff)
	}
	if err := Run(t.Context(), Options{Patterns: []string{"[x"}}, "", nil); err == nil {
		t.Error("a pattern that is none was taken")
	}
}

// Whatever happens to a log between two readings, each line that remains on disk
// under its name or a renamed one is given once.
func TestNothingTwice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newLog(t)
		l.reading(nothing)
		var want []string
		for n := range rapid.IntRange(1, 6).Draw(rt, "steps") {
			line := fmt.Sprint("line ", n)
			l.write(line + "\n")
			want = append(want, line)
			switch rapid.IntRange(0, 2).Draw(rt, "then") {
			case 0:
				l.reading(nothing, want...)
				want = nil
			case 1:
				l.reading(nothing, want...)
				l.rename(fmt.Sprint(".", n))
				want = nil
			}
		}
		l.reading(nothing, want...)
	})
}

// Who writes into a log goes on with the renamed one until he is told to open the new
// one: what he writes meanwhile is read, whether the new one is there or not.
func TestLateWriter(t *testing.T) {
	for _, create := range []bool{true, false} {
		l := newLog(t)
		l.write("x\n")
		w, err := os.OpenFile(l.path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		l.reading(func() {
			l.rename(".1")
			if create {
				l.write("new\n")
				l.wait("new")
			}
			if _, err := w.WriteString("late\n"); err != nil {
				t.Error(err)
			}
			l.wait("late")
			l.write("last\n")
		}, append(map[bool][]string{true: {"new"}}[create], "late", "last")...)
		_ = w.Close()
		l.reading(nothing)
	}
}

// Where the pattern fits the names of rotated files, too, their lines are not given
// again.
func TestRotatedFits(t *testing.T) {
	l := newLog(t)
	l.every = "*"
	l.write("x\n")
	l.reading(func() {
		l.write("one\n")
		l.wait("one")
		l.rename(".1")
		l.write("two\n")
	}, "one", "two")
	l.write("three\n")
	if err := os.Rename(l.path+".1", l.path+".2"); err != nil {
		t.Fatal(err)
	}
	l.rename(".1")
	l.write("four\n")
	l.reading(nothing, "four", "three")
	l.reading(nothing)
}

// An error of the taker ends the reading, also where it looks like one of a file.
func TestGiveFails(t *testing.T) {
	l := newLog(t)
	l.write("one\n")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	full := &os.PathError{Op: "write", Path: "/journal", Err: syscall.ENOSPC}
	err := Run(ctx, Options{Patterns: []string{l.path}, Whole: true}, "", func(_ context.Context, lines []Line, _ string) error {
		if len(lines) > 0 {
			return fmt.Errorf("journal: %w", full)
		}
		return nil
	})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Run = %v", err)
	}
}
