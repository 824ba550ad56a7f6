package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDamagedSegment changes one bit in the middle of a sealed segment: the
// server tells of it, serves what is whole, and verify exits with 1, naming the
// file and the sequences.
func TestDamagedSegment(t *testing.T) {
	t.Parallel()
	s := start(t)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 40 { // beyond what is kept in memory
		filler := make([]byte, 600_000)
		for n := range filler {
			filler[n] = "ghijklmnopqrstuv"[random.IntN(16)]
		}
		s.emit(eventMedia, anEvent(fmt.Sprintf("s%d", i), "data", object{"filler": string(filler), "n": i}))
	}
	segments := func() []string {
		var all []string
		_ = filepath.WalkDir(filepath.Join(s.data, "journal"), func(path string, d os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".seg") {
				all = append(all, path)
			}
			return err
		})
		return all
	}
	eventually(t, "a sealed segment", func() bool { return len(segments()) > 0 })
	s.stop()
	path := segments()[0]
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 0x10
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	named := func(text string) {
		t.Helper()
		if !strings.Contains(text, filepath.Base(path)) || !strings.Contains(text, "sequence") && !strings.Contains(text, "events ") {
			t.Errorf("the damage is not named with file and sequence: %s", text)
		}
	}
	_, errOut, code := s.cli("journal", "verify")
	if code != 1 {
		t.Errorf("verify on the stopped folder: exit %d: %s", code, errOut)
	}
	named(errOut)

	s = startOn(t, s.data)
	if _, errOut, code = s.cli("journal", "verify"); code != 1 {
		t.Errorf("verify on the running server: exit %d: %s", code, errOut)
	}
	named(errOut)
	// What is whole is served, with a warning; what is not is never data.
	r := s.get("/v1/events?limit=10&filter=source+%3D%3D+%22urn:test%22+%26%26+data.n+%3E+38")
	if r.status != 200 || len(parse[page](t, r.body).Events) != 1 {
		t.Errorf("a search over the damage: %d %s", r.status, clip(r.body))
	}
	if r := s.get("/v1/events?limit=100&filter=data.n+%3C+5"); !strings.Contains(string(r.body), `"warnings":[`) {
		t.Errorf("no warning: %s", clip(r.body))
	}
	s.emit(eventMedia, anEvent("after"))
}
