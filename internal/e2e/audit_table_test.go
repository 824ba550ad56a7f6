package e2e

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/oauth2-proxy/mockoidc"
)

// act is what really raises one type of event.
type act struct {
	typ  string
	with []string // what else the act raises
	// do does it, and returns the whole JSON that the event must be shown as.
	do func() object
}

// TestEveryTypeIsRaised does, over HTTP, what raises each type that is about who
// did what: seed 003's actions, seed 002's user.* and
// seed 001's license.*. The whole of each is compared with the seed's shape,
// member by member, and so is the set of events that the act raises.
func TestEveryTypeIsRaised(t *testing.T) {
	w := newStage(t)
	done := map[string]bool{}
	for _, a := range slices.Concat(w.people(), w.signingIn(), w.changes(), w.system(), w.telling()) {
		done[a.typ] = true
		before := w.position()
		want := a.do()
		var found []object
		eventually(t, a.typ+" is raised", func() bool {
			found = w.find("filter", "sequence > "+before+` && type == "`+a.typ+`"`).Events
			return len(found) > 0
		})
		if len(found) > 1 {
			t.Errorf("%s: raised %d times by one act", a.typ, len(found))
			continue
		}
		view := "audit"
		if want["specversion"] != nil {
			view = "significant"
			want["type"] = a.typ
		} else {
			want["action"] = a.typ
		}
		got := w.get("/v1/events/"+text(found[0]["sequence"])+"?view="+view).want(t, http.StatusOK)
		for _, problem := range unlike("", want, got) {
			t.Errorf("%s: %s", a.typ, problem)
		}
		w.wantWith(found[0], a.with)
	}
	count := 0
	for _, entry := range parse[struct{ Items []object }](t, w.get("/v1/catalog").body).Items {
		name := text(entry["type"])
		if entry["kind"] != "audit" && !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "license.") {
			continue
		}
		if count++; !done[name] {
			t.Errorf("%s is of the catalog, and not of the table", name)
		}
	}
	if count != 24+17+2 {
		t.Errorf("%d types, where the seeds have 43", count)
	}
}

// stage is a server with all that its events can be about: a place for the
// client's address, a brand, a mail server, an OpenID provider, a licence and a
// feed of releases.
type stage struct {
	*journey
	box      *postbox
	provider *mockoidc.MockOIDC
	signer   signer
	licence  string                 // file
	release  atomic.Pointer[string] // what the feed says
	lines    []string               // of the configuration
	boss     string                 // token of the administrator's session
	ann      string                 // id of a user
	request  object                 // the http_request of the last act
}

// from is where the requests of the acts come from: a proxy says so.
var from = []string{"X-Forwarded-For", "192.0.2.7", "X-Forwarded-Host", "events.acme.example"}

const terms = `{"subject":"Example Ltd"}`

func newStage(t *testing.T) *stage {
	t.Helper()
	w := &stage{signer: newSigner(t), licence: filepath.Join(t.TempDir(), "licence")}
	old := `{"version":"0.0.1","changelog":"https://releases.example/0"}`
	w.release.Store(&old)
	feed := w.signer.feed(t, func() string { return *w.release.Load() })
	w.license(t, terms)
	box, mails := startPostbox(t)
	provider, oidc := startProvider(t)
	city, asn := places(t)
	w.lines = []string{
		"public_url: http://tocsin.example", "trusted_proxies: [127.0.0.0/8]", "egress: {allow: [127.0.0.0/8]}", mails, oidc,
		"geo: {city: " + city + ", asn: " + asn + "}",
		"license: {file: " + w.licence + ", public_key: " + w.signer.public + "}", "updates: {feed: " + feed + "/tocsin.json, public_key: " + w.signer.public + "}",
		"sources: {license: {interval: 1s}}",
	}
	s := start(t, w.lines...)
	w.journey, w.box, w.provider = &journey{server: s}, box, provider
	s.post("/v1/brands", jsonMedia, `{"name":"acme","title":"Acme events","hosts":["events.acme.example"]}`).want(t, http.StatusCreated)
	for _, r := range parse[struct{ Items []object }](t, s.get("/v1/rules").body).Items { // their mails are no part of the acts
		s.request(http.MethodDelete, "/v1/rules/"+text(r["id"]), nil).want(t, http.StatusNoContent)
	}
	w.boss = w.session("admin", password)
	w.send(http.MethodPatch, "/v1/users/me", w.boss, `{"email":"admin@example.com","current_password":"`+password+`"}`).want(t, http.StatusOK)
	return w
}

// license writes the licence's file; its signature is that of terms.
func (w *stage) license(t *testing.T, content string) {
	t.Helper()
	if err := os.WriteFile(w.licence, []byte(content+"\n"+w.signer.sign(terms)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// places makes MMDB files, as they can be had: 192.0.2.7 is in Berlin.
func places(t *testing.T) (city, asn string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, networks map[string]mmdbtype.Map) string {
		tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "test", IncludeReservedNetworks: true})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		for network, record := range networks {
			_, ipnet, err := net.ParseCIDR(network)
			if err != nil {
				t.Fatal(err)
			}
			if err := tree.Insert(ipnet, record); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tree.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	at := func(continent, country, city string, lat, lon float64) mmdbtype.Map {
		return mmdbtype.Map{
			"country": mmdbtype.Map{"iso_code": mmdbtype.String(country)}, "continent": mmdbtype.Map{"code": mmdbtype.String(continent)},
			"city":     mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(city)}},
			"location": mmdbtype.Map{"latitude": mmdbtype.Float64(lat), "longitude": mmdbtype.Float64(lon)},
		}
	}
	of := func(number uint32, name string) mmdbtype.Map {
		return mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(number), "autonomous_system_organization": mmdbtype.String(name)}
	}
	return write("city.mmdb", map[string]mmdbtype.Map{
			"192.0.2.0/25": at("EU", "DE", "Berlin", 52.5, 13.25), "192.0.2.128/25": at("EU", "DE", "Hamburg", 53.5, 10),
			"198.51.100.0/25": at("EU", "FR", "Paris", 48.75, 2.25), "198.51.100.128/25": at("SA", "BR", "Recife", -8, -35),
		}), write("asn.mmdb", map[string]mmdbtype.Map{
			"192.0.2.0/24": of(6805, "Telefonica Germany"), "198.51.100.0/25": of(6805, "Telefonica Germany"), "198.51.100.128/25": of(64500, "Example Net"),
		})
}

// position is the sequence of the newest event.
func (w *stage) position() string {
	w.t.Helper()
	return strings.TrimLeft(text(w.find("limit", "1").Events[0]["sequence"]), "0")
}

// wantWith compares the types that an act has raised beside an event. Mails are
// sent later, on behalf of the same act.
func (w *stage) wantWith(e object, types []string) {
	w.t.Helper()
	var got []string
	if id := text(e["correlationid"]); e["correlationid"] != nil {
		for _, other := range w.find("filter", `correlationid == "`+id+`" && type != "email_sent"`).Events {
			if other["id"] == e["id"] {
				continue
			}
			got = append(got, text(other["type"]))
			if e["type"] != "email_sent" && other["recordedtime"] != e["recordedtime"] {
				w.t.Errorf("%v: %v is not appended with it", e["type"], other["type"])
			}
		}
	}
	slices.Sort(got)
	slices.Sort(types)
	if diff := cmp.Diff(types, got); diff != "" {
		w.t.Errorf("%v: what else the act has raised: %s", e["type"], diff)
	}
}

// act makes a request of the API, as from far away, and remembers what its
// events must say of it.
func (w *stage) act(method, path, token, body string, status int) object {
	w.t.Helper()
	w.request = asked(method, path)
	return w.send(method, path, token, body, from...).want(w.t, status)
}

// asked is what an event says of a request of the tests.
func asked(method, target string) object {
	path, query, _ := strings.Cut(target, "?")
	return object{"method": method, "path": path, "args": object{"query": query}, "user_agent": "Go-http-client/1.1", "request_id": anID}
}

// audited is seed 003's event of a request, by somebody of a module.
func (w *stage) audited(module string, who, context object) object {
	if context["http_request"] == nil {
		context["http_request"] = w.request
	}
	context["geo"] = object{"continent": "EU", "country": "DE", "city": "Berlin", "lat": json.Number("52.5"), "long": json.Number("13.25")}
	context["asn"] = object{"asn": 6805, "as_org": "Telefonica Germany", "network": "192.0.2.0/24"}
	e := unasked(module, who, context)
	e["client_ip"] = "192.0.2.7"
	e["brand"] = object{"pk": "acme", "app": "tocsin_brand", "name": "acme", "model_name": "brand"}
	return e
}

// unasked is seed 003's event of what no request has made. It expires with the
// retention, which may change: no time is told before.
func unasked(module string, who, context object) object {
	return object{
		"pk": anID, "user": who, "app": "tocsin." + module, "context": context, "client_ip": nil, "created": microTime, "expires": nil, "brand": nil,
	}
}

// who is a user as seed 003 names one.
func who(id int, name string) object {
	return object{"pk": id, "email": name + "@example.com", "username": name}
}

var (
	theAdmin = who(1, "admin")
	nobody   = object{"pk": nil, "email": "", "username": "AnonymousUser"}
	itself   = object{"pk": nil, "email": "", "username": "tocsin"}
)

// model names an object of identity as seed 003 does.
func model(kind, pk, name string) object {
	return object{"app": "tocsin_identity", "model_name": kind, "pk": pk, "name": name}
}

// configure writes the server's configuration anew, with a line more.
func (w *stage) configure(line string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.data, "test.yaml"), []byte(strings.Join(append(w.lines, line), "\n")+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// await waits for the first event that fits a filter.
func (w *stage) await(filter string) {
	w.t.Helper()
	eventually(w.t, filter, func() bool { return len(w.find("filter", filter).Events) > 0 })
}
