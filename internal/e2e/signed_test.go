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

// signer is who signs licences and lists of releases.
type signer struct {
	key    ed25519.PrivateKey
	public string
}

func newSigner(t *testing.T) signer {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, base64.StdEncoding.EncodeToString(public)}
}

func (k signer) sign(text string) string {
	return base64.StdEncoding.EncodeToString(ed25519.Sign(k.key, []byte(text)))
}

// feed serves a signed list of releases.
func (k signer) feed(t *testing.T, release func() string) (address string) {
	t.Helper()
	feed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := release()
		if strings.HasSuffix(r.URL.Path, ".sig") {
			text = k.sign(text)
		}
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(feed.Close)
	return feed.URL
}

// TestLicenceAndUpdates raises what a real server says of a licence file that
// comes, is forged and is mended, and of a signed feed with a newer version.
func TestLicenceAndUpdates(t *testing.T) {
	k := newSigner(t)
	const release = `{"version":"999.0.0","changelog":"https://releases.example/999"}`
	feed := k.feed(t, func() string { return release })
	file := filepath.Join(t.TempDir(), "licence")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const terms = `{"subject":"Example Ltd"}`
	write(terms + "\n" + k.sign(terms) + "\n")
	s := start(t, "license: {file: "+file+", public_key: "+k.public+"}", "sources: {license: {interval: 1s}}",
		"updates: {feed: "+feed+"/tocsin.json, public_key: "+k.public+"}", "egress: {allow: [127.0.0.0/8]}")
	told := func() []string {
		var all []string
		for _, e := range s.find("filter", `glob(type, "license.*")`, "order", "asc").Events {
			all = append(all, text(e["type"])+": "+text(e["data"].(object)["msg"]))
		}
		return all
	}
	eventually(t, "the licence is told of", func() bool { return len(told()) == 1 })
	write(terms + "x\n" + k.sign(terms) + "\n")
	eventually(t, "the forged licence is told of", func() bool { return len(told()) == 2 })
	write(terms + "\n" + k.sign(terms) + "\n")
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
	again := startOn(t, data, "license: {file: "+file+", public_key: "+k.public+"}", "sources: {license: {interval: 1s}}")
	again.emit(eventMedia, anEvent("after"))
	s = again
	if got := told(); len(got) != 3 {
		t.Errorf("a restart told anew: %v", got)
	}
}
