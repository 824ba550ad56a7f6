package e2e

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestHostileContentIsRecorded makes requests whose names, addresses and headers
// hold NUL bytes, broken UTF-8 and control characters: the event of each is
// recorded, as valid JSON, and no request fails for it.
func TestHostileContentIsRecorded(t *testing.T) {
	s := start(t)
	for _, agent := range []string{"broken \xff\xfe", "tab\tand \xc3\x28", strings.Repeat("x", 9000)} {
		r := s.request(http.MethodDelete, "/v1/events/1?q=%ff%fe&n=%00", nil, "User-Agent", agent)
		if r.status != http.StatusMethodNotAllowed {
			t.Errorf("agent %.20q: %d %s", agent, r.status, clip(r.body))
		}
	}
	for _, name := range []string{`nul\u0000byte`, `\ud800lonely`, `\u202egnp`, "\xff\xfe", `line\nbreak`} {
		r := s.post("/v1/auth/token", jsonMedia, `{"username":"`+name+`","password":"wrong"}`)
		if r.status != http.StatusUnauthorized && r.status != http.StatusBadRequest {
			t.Errorf("name %q: %d %s", name, r.status, clip(r.body))
		}
	}
	r := s.post("/v1/groups", jsonMedia, `{"name":"g\u0000"}`)
	if r.status >= http.StatusInternalServerError {
		t.Errorf("a group: %d %s", r.status, clip(r.body))
	}
	attempts := s.find("filter", `type == "suspicious_request"`).Events
	if len(attempts) != 3 {
		t.Errorf("%d of 3 attempts are recorded", len(attempts))
	}
	if failed := s.find("filter", `type == "login_failed"`).Events; len(failed) == 0 {
		t.Error("no refused sign-in is recorded")
	}
	for _, view := range []string{"cloudevents", "audit"} {
		if raw := s.get("/v1/events?limit=100&view=" + view).body; !utf8.Valid(raw) {
			t.Errorf("the view %s is no UTF-8", view)
		}
	}
}
