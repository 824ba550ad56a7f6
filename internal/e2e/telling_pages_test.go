package e2e

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
)

// Everybody reads what was told, and marks their own messages; only those who may
// change things do.
func TestPagesOfTellingByRights(t *testing.T) {
	s := start(t)
	s.user("vera", "viewer")
	b, vera := newBrowser(s), newBrowser(s)
	pages := []string{"/inbox", "/deliveries", "/transports", "/transports/1", "/silences", "/catalog/disk_full/words"}
	for _, path := range append(pages, "/inbox/live", "/transports/new", "/deliveries/replay?state=dead") {
		if r := b.do(http.MethodGet, path, ""); r.status != http.StatusSeeOther || !strings.HasPrefix(r.header.Get("Location"), "/sign-in") {
			t.Errorf("%s without a session: %d", path, r.status)
		}
	}
	b.signIn("/")
	vera.signInAs("vera")
	for _, path := range pages {
		if r := vera.do(http.MethodGet, path, ""); r.status != http.StatusOK || strings.Contains(string(r.body), "Send a test message") {
			t.Errorf("%s as a viewer: %d %s", path, r.status, clip(r.body))
		}
	}
	for _, path := range []string{"/transports/new", "/deliveries/replay?state=dead"} {
		if r := vera.do(http.MethodGet, path, ""); r.status != http.StatusForbidden {
			t.Errorf("%s as a viewer: %d", path, r.status)
		}
	}
	if r := b.do(http.MethodGet, "/deliveries?rule=999&transport=1&state=dead", ""); !strings.Contains(string(r.body), `value="999" selected`) || !strings.Contains(string(r.body), `value="1" selected`) {
		t.Errorf("what the ledger was asked for is forgotten: %s", clip(r.body))
	}
	if r := b.do(http.MethodPost, "/transports/1/test", ""); r.status != http.StatusOK || !strings.Contains(string(r.body), "The test message has arrived") {
		t.Fatalf("a test of the inbox: %d %s", r.status, clip(r.body))
	}
	if r := b.do(http.MethodGet, "/", ""); !strings.Contains(string(r.body), `data-unseen>1</span>`) {
		t.Errorf("the count of another page: %s", clip(r.body))
	}
	for path, form := range map[string]string{
		"/transports": "mode=inbox&name=Mine", "/transports/1": "mode=inbox&name=Mine&version=1", "/transports/1/delete": "", "/transports/1/test": "", "/transports/1/reveal": "password=" + password,
		"/silences": "filter=true&for=1h", "/deliveries/replay": "state=dead", "/deliveries/1/replay": "", "/catalog/disk_full/words": "text=x", "/inbox/1/acknowledge": "",
	} {
		if r := vera.do(http.MethodPost, path, form); r.status != http.StatusForbidden {
			t.Errorf("%s as a viewer: %d", path, r.status)
		}
	}
	if r := vera.do(http.MethodPost, "/inbox/1/seen", ""); r.status != http.StatusNotFound {
		t.Errorf("somebody else's message: %d", r.status)
	}
	if r := b.do(http.MethodPost, "/inbox/1/seen", ""); r.status != http.StatusSeeOther {
		t.Errorf("one's own message: %d", r.status)
	}
	if r := b.do(http.MethodGet, "/", ""); !strings.Contains(string(r.body), `data-unseen hidden>0</span>`) {
		t.Errorf("the count after it was seen: %s", clip(r.body))
	}
	if r := b.do(http.MethodPost, "/inbox/1/seen", "", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); r.status != http.StatusForbidden {
		t.Errorf("a forged form: %d", r.status)
	}
}

// The stream of changes says how many messages are new, and ends with the session.
func TestStreamOfChanges(t *testing.T) {
	s := start(t)
	b := newBrowser(s)
	b.signIn("/")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/inbox/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	next := func(want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == want {
				return
			}
		}
		t.Fatalf("the stream ended before %s: %v", want, lines.Err())
	}
	next(`data: {"unseen":0}`)
	b.do(http.MethodPost, "/transports/1/test", "")
	next(`data: {"unseen":1}`)
	b.do(http.MethodPost, "/inbox/seen", "")
	next(`data: {"unseen":0}`)
	b.do(http.MethodPost, "/sign-out", "")
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: ") {
			t.Errorf("after signing out: %s", lines.Text())
		}
	}
	if err := lines.Err(); err != nil { // its end is no time-out
		t.Error(err)
	}
}
