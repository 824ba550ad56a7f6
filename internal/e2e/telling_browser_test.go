package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"
)

// TestBrowserTelling looks at what was told, and how, in real Chromium: inbox,
// ledger, transports, silences, words, and the link that ends mails, which comes
// out of a real mail.
func TestBrowserTelling(t *testing.T) {
	box, mails := startPostbox(t)
	s := start(t, mails, "egress: {allow: [127.0.0.0/8]}")
	s.post("/v1/catalog", jsonMedia, `{"type":"door_opened","severity":"info","description":"A door was opened.","message":"door {data.door} was opened","fields":[{"name":"door","type":"string"}]}`).want(t, http.StatusCreated)
	ula := text(s.post("/v1/users", jsonMedia, `{"username":"ula","email":"ula@example.org","password":"`+password+`","access_level":"viewer"}`).want(t, http.StatusCreated)["id"])
	way := text(s.post("/v1/transports", jsonMedia, `{"name":"Mails of the test","mode":"email"}`).want(t, http.StatusCreated)["id"])
	s.post("/v1/rules", jsonMedia, fmt.Sprintf(`{"name":"Bells <i>ring</i>","types":["bell_rung"],"transports":[%q],"recipients":{"users":[%q]}}`, way, ula)).want(t, http.StatusCreated)
	box.next(t, "ula@example.org") // asks whether the address is hers
	s.emit(eventMedia, anEvent("bell", "type", "bell_rung"))
	letter := box.next(t, "ula@example.org")
	link := regexp.MustCompile(`/unsubscribe\?of=[\w.-]+`).FindString(letter.text)
	if link == "" {
		t.Fatalf("no link in %q", letter.text)
	}

	browse(t, s, "browser_telling.cjs", 110, 20, "UNSUBSCRIBE="+link)

	s.emit(eventMedia, anEvent("bell-2", "type", "bell_rung"))
	eventually(t, "the second bell is not told", func() bool {
		found := parse[struct{ Items []object }](t, s.get("/v1/deliveries?state=suppressed&transport="+way).body).Items
		return len(found) == 1 && found[0]["reason"] == "unsubscribed"
	})
	// One was made in the inbox, and taken back; the link, followed three times, has
	// made one.
	if made := s.find("filter", `type == "model_created" && data.model.model_name == "mute"`).Events; len(made) != 2 {
		t.Errorf("%d rules were muted, by the record", len(made))
	}
}
