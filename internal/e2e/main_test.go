package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program is the binary that is driven; TestMain builds it.
var program string

// root is the repository.
var root string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tocsin-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if root, err = filepath.Abs(filepath.Join("..", "..")); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	program = filepath.Join(dir, "tocsin")
	build := exec.Command("go", "build", "-o", program, "./cmd/tocsin")
	build.Dir = root
	if os.Getenv("E2E_RACE") != "" {
		patience *= 4
		build.Args = append(build.Args[:2], append([]string{"-race"}, build.Args[2:]...)...)
		build.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: build: %v\n%s", err, out)
		return 1
	}
	client.Timeout = patience
	return m.Run()
}

// environ is this process's environment without anything that means Tocsin.
func environ(extra ...string) []string {
	var env []string
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "TOCSIN_") {
			env = append(env, pair)
		}
	}
	return append(env, extra...)
}

// need skips a test that lacks a component, or fails it in CI.
func need(t *testing.T, missing, how string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: %s", missing, how)
	}
	t.Skipf("%s is missing: %s", missing, how)
}

// tool finds a program, or skips.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		need(t, name, "run scripts/tools.sh")
	}
	return path
}

// cached finds a file that scripts/tools.sh installs, or skips.
func cached(t *testing.T, parts ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{root, ".cache"}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		need(t, strings.Join(parts, "/"), "run scripts/tools.sh")
	}
	return path
}

// shared is a file beside the repository that is not part of it: what stands there
// is used in place, never copied. A clone without it skips.
func shared(t *testing.T, parts ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{root, "..", "shared"}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		need(t, "shared/"+filepath.Join(parts...), "it stands beside the repository")
	}
	return path
}

// patience is how long a test waits for what must happen; longer with the race
// detector, which makes the program several times slower.
var patience = 30 * time.Second

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// object is a JSON object.
type object = map[string]any

// parse decodes JSON, keeping numbers as they are written.
func parse[T any](t *testing.T, raw []byte) T {
	t.Helper()
	var v T
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, clip(raw))
	}
	return v
}

func clip(raw []byte) string {
	if len(raw) > 600 {
		return string(raw[:600]) + "…"
	}
	return string(raw)
}

// dig is the member at a path of names, such as "data.model.name"; nil where it
// is absent.
func dig(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		o, ok := v.(object)
		if !ok {
			return nil
		}
		v = o[name]
	}
	return v
}
