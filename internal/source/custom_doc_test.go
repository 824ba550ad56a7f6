package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The code and the fixture of docs/custom-source.md are those that are compiled and
// played here.
func TestCustomSourceDoc(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "custom-source.md"))
	if err != nil {
		t.Fatal(err)
	}
	for block, file := range map[string]string{
		"go reboot.go": "reboot_example_test.go", "txtar reboot_required.txtar": filepath.Join("testdata", "reboot_required.txtar"),
	} {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, got, _ := strings.Cut(string(page), "```"+block+"\n")
		got, _, _ = strings.Cut(got, "```\n")
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-%s +the page): %s", block, file, diff)
		}
	}
}

// The example tells once for each time that a restart is wanted.
func TestCustomSourceExample(t *testing.T) {
	file := filepath.Join(t.TempDir(), "reboot-required")
	s := newStage()
	look := func() int {
		t.Helper()
		one := opens(t, "reboot_required", "path: "+file).source.(*reboot)
		if err := one.look(t.Context(), &s.Env); err != nil {
			t.Fatal(err)
		}
		return len(s.take(t))
	}
	if look() != 0 {
		t.Error("nothing is there, and something is told")
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if look() != 1 || look() != 0 {
		t.Error("it is not told once")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if look() != 0 {
		t.Error("its end is told")
	}
}
