package e2e

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLicenceAndUpdates raises what a real server says of a licence file that
// comes, is forged and is mended, and of a signed feed with a newer version.
func TestLicenceAndUpdates(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	encoded := base64.StdEncoding.EncodeToString(public)
	sign := func(text string) string { return base64.StdEncoding.EncodeToString(ed25519.Sign(key, []byte(text))) }
	const release = `{"version":"999.0.0","changelog":"https://releases.example/999"}`
	feed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".sig") {
			_, _ = w.Write([]byte(sign(release)))
			return
		}
		_, _ = w.Write([]byte(release))
	}))
	defer feed.Close()
	file := filepath.Join(t.TempDir(), "licence")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const terms = `{"subject":"Example Ltd"}`
	write(terms + "\n" + sign(terms) + "\n")
	s := start(t, "license: {file: "+file+", public_key: "+encoded+"}", "sources: {license: {interval: 1s}}",
		"updates: {feed: "+feed.URL+"/tocsin.json, public_key: "+encoded+"}", "egress: {allow: [127.0.0.0/8]}")
	told := func() []string {
		var all []string
		for _, e := range s.find("filter", `glob(type, "license.*")`, "order", "asc").Events {
			all = append(all, text(e["type"])+": "+text(e["data"].(object)["msg"]))
		}
		return all
	}
	eventually(t, "the licence is told of", func() bool { return len(told()) == 1 })
	write(terms + "x\n" + sign(terms) + "\n")
	eventually(t, "the forged licence is told of", func() bool { return len(told()) == 2 })
	write(terms + "\n" + sign(terms) + "\n")
	eventually(t, "the mended licence is told of", func() bool { return len(told()) == 3 })
	if got, want := strings.Join(told(), "; "), "license.valid: the licence is valid; license.invalid: the signature of the licence is wrong; license.valid: the licence is valid"; got != want {
		t.Errorf("told: %s", got)
	}
	eventually(t, "the update is told of", func() bool { return len(s.find("filter", `type == "update_available"`).Events) == 1 })
	e := s.one(`type == "update_available"`)
	if d := e["data"].(object); d["new_version"] != "999.0.0" || d["changelog"] != "https://releases.example/999" || e["kind"] != "audit" {
		t.Errorf("the update: %v", e)
	}
	data := s.data
	s.stop()
	again := startOn(t, data, "license: {file: "+file+", public_key: "+encoded+"}", "sources: {license: {interval: 1s}}")
	again.emit(eventMedia, anEvent("after"))
	s = again
	if got := told(); len(got) != 3 {
		t.Errorf("a restart told anew: %v", got)
	}
}
