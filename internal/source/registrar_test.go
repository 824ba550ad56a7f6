package source

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/config"
)

// handled answers requests without a network, so that time can be false.
type handled struct{ http.Handler }

func (h handled) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// registry answers as an RDAP server does.
type registry struct {
	ends  map[string]time.Time
	asked map[string][]time.Time
	fail  http.HandlerFunc
}

func newRegistry(ends map[string]time.Time) *registry {
	return &registry{ends: ends, asked: map[string][]time.Time{}}
}

func (g *registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/domain/")
	g.asked[name] = append(g.asked[name], time.Now())
	end, known := g.ends[name]
	switch {
	case g.fail != nil:
		g.fail(w, r)
	case !known:
		http.NotFound(w, r)
	default:
		w.Header().Set("Content-Type", "application/rdap+json")
		fmt.Fprintf(w, `{"objectClassName":"domain","ldhName":%q,"events":[{"eventAction":"registration","eventDate":"2004-08-30T22:55:00Z"},{"eventAction":"expiration","eventDate":%q}],
			"entities":[{"objectClassName":"entity","handle":"REG-1","roles":["registrar"],"vcardArray":["vcard",[["version",{},"text","4.0"],["fn",{},"text","Names Ltd"]]]}]}`,
			name, end.Format(time.RFC3339))
	}
}

func testRegistrar(t *testing.T, change func(*registrarOptions)) *registrar {
	t.Helper()
	const day = config.Duration(24 * time.Hour)
	o := registrarOptions{
		Enabled: true, Interval: day, Before: []config.Duration{30 * day, 14 * day, 7 * day, 3 * day, day},
		Domains: []string{"shop.example", "Fine.example."}, Server: "https://rdap.example/",
	}
	if change != nil {
		change(&o)
	}
	s, err := newRegistrar(o)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*registrar)
}

// watch is a recorder for this source, and the problem that it shows.
func watch(stored map[string]string, h http.Handler) (r *recorder, problem *string) {
	r, problem = newRecorder(stored), new(string)
	r.HTTP = &http.Client{Transport: handled{h}}
	r.Problem = func(err error) {
		*problem = ""
		if err != nil {
			*problem = err.Error()
		}
	}
	return r, problem
}

// forAWhile runs the source for a time and ends it, as a restart does.
func forAWhile(t *testing.T, s Source, r *recorder, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, &r.Env) }()
	time.Sleep(d) // of the bubble: it takes no time
	synctest.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
}

// 45 days of two domains, with a restart every five days: one is told at exactly
// each warning time, the healthy one never, and no domain is asked about more
// often than once a day.
func TestRegistrarDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(40*24*time.Hour + 90*time.Minute).UTC()
		g, stored := newRegistry(map[string]time.Time{"shop.example": end, "fine.example": end.AddDate(1, 0, 0)}), map[string]string{}
		var got, when []string
		for range 9 {
			r, problem := watch(stored, g)
			forAWhile(t, testRegistrar(t, nil), r, 5*24*time.Hour)
			for _, e := range r.events {
				when = append(when, end.Sub(e.Time).String())
			}
			got = append(got, r.told(t, "days_left", "expired", "registrar", "rdap_server")...)
			if *problem != "" || r.status != Running {
				t.Errorf("problem %q, status %s", *problem, r.status)
			}
		}
		const rest = ` "Names Ltd" "https://rdap.example/"`
		want := []string{
			"domain_registrar_expiry warn domain/shop.example 30 false" + rest,
			"domain_registrar_expiry warn domain/shop.example 14 false" + rest,
			"domain_registrar_expiry warn domain/shop.example 7 false" + rest,
			"domain_registrar_expiry warn domain/shop.example 3 false" + rest,
			"domain_registrar_expiry error domain/shop.example 1 false" + rest,
			"domain_registrar_expiry error domain/shop.example 0 true" + rest,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"720h0m0s", "336h0m0s", "168h0m0s", "72h0m0s", "24h0m0s", "0s"}, when); diff != "" {
			t.Errorf("before the end: %s", diff)
		}
		for name, times := range g.asked {
			for i := 1; i < len(times); i++ {
				if gap := times[i].Sub(times[i-1]); gap < 24*time.Hour {
					t.Errorf("%s is asked about again after %s", name, gap)
				}
			}
			if len(times) < 44 {
				t.Errorf("%s is asked about %d times in 45 days", name, len(times))
			}
		}
	})
}

// A renewed domain is told of again only when it comes to a warning time anew.
func TestRegistrarRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		start := time.Now().UTC()
		g := newRegistry(map[string]time.Time{"shop.example": start.Add(10 * day), "fine.example": start.Add(-10*day - time.Hour)})
		stored := map[string]string{}
		r, _ := watch(stored, g)
		s := testRegistrar(t, nil)
		forAWhile(t, s, r, time.Hour)
		want := []string{
			"domain_registrar_expiry error domain/fine.example -11 true",
			"domain_registrar_expiry warn domain/shop.example 9 false", // asked two seconds later
		}
		if diff := cmp.Diff(want, r.told(t, "days_left", "expired")); diff != "" {
			t.Error(diff)
		}
		g.ends["shop.example"], g.ends["fine.example"] = start.Add(25*day), start.AddDate(2, 0, 0) // one is still inside 30 days
		forAWhile(t, s, r, 9*day)
		if got := r.told(t, "days_left"); got != nil {
			t.Errorf("renewed, and told: %q", got)
		}
		forAWhile(t, s, r, 2*day)
		if diff := cmp.Diff([]string{"domain_registrar_expiry warn domain/shop.example 14"}, r.told(t, "days_left")); diff != "" {
			t.Error(diff)
		}
	})
}

// Whatever the server answers, the source goes on, says it once, and asks ever
// less.
func TestRegistrarFailures(t *testing.T) {
	slow := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	answer := func(status int, retry, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if retry != "" {
				w.Header().Set("Retry-After", retry)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, c := range map[string]struct {
		fail  http.HandlerFunc
		says  string
		asked int // about one domain, in 20 days
	}{
		"garbage":       {answer(200, "", "\x00<html>"), "can't be read", 4},
		"another thing": {answer(200, "", `{"objectClassName":"autnum","handle":"AS1"}`), "not about a domain", 4},
		"no end":        {answer(200, "", `{"objectClassName":"domain","events":[{"eventAction":"last changed","eventDate":"2020-01-01T00:00:00Z"}]}`), "names no expiration", 4},
		"wrong end":     {answer(200, "", `{"objectClassName":"domain","events":[{"eventAction":"expiration","eventDate":"soon"}]}`), `"soon" is no time`, 4},
		"endless":       {answer(200, "", strings.Repeat(" ", maxRDAP+1)), "longer than", 4},
		"404":           {answer(404, "", ""), "does not know the domain", 4},
		"500":           {answer(500, "", "{}"), "the answer is 500", 4},
		"slow":          {slow, "no answer within 30s", 4},
		"429":           {answer(429, "1296000", ""), "asked too often", 2}, // 15 days
		"429, a date":   {answer(429, time.Date(2000, 1, 19, 0, 0, 0, 0, time.UTC).Format(http.TimeFormat), ""), "asked too often", 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRegistry(nil)
				g.fail = c.fail
				r, problem := watch(map[string]string{}, g)
				s := testRegistrar(t, func(o *registrarOptions) { o.Domains = []string{"shop.example"} })
				forAWhile(t, s, r, 20*24*time.Hour)
				if !strings.Contains(*problem, c.says) || r.status != Unavailable || len(r.events) != 0 {
					t.Errorf("problem %q, status %s, %d events; want %q", *problem, r.status, len(r.events), c.says)
				}
				// At once, and after 1, 2, 4 and 7 days, unless it is to be left alone for longer.
				if n := len(g.asked["shop.example"]); n < c.asked || n > c.asked+1 {
					t.Errorf("asked %d times, want %d: %v", n, c.asked, g.asked)
				}
				g.fail, g.ends = nil, map[string]time.Time{"shop.example": time.Now().Add(50 * 24 * time.Hour)}
				forAWhile(t, s, r, 31*24*time.Hour)
				if *problem != "" || r.status != Running || len(r.events) != 1 {
					t.Errorf("it works again: problem %q, status %s, %d events", *problem, r.status, len(r.events))
				}
			})
		})
	}
}

// A server that wants to be left alone is, with all its domains.
func TestRegistrarRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRegistry(nil)
		g.fail = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "864000") // ten days
			w.WriteHeader(http.StatusTooManyRequests)
		}
		stored := map[string]string{}
		for range 9 {
			r, _ := watch(stored, g)
			forAWhile(t, testRegistrar(t, nil), r, 24*time.Hour)
		}
		if len(g.asked) != 1 || len(g.asked["fine.example"]) != 1 {
			t.Errorf("asked in spite of Retry-After: %v", g.asked)
		}
	})
}

// The recorded answer of a real registry, by a real connection; the server comes
// from a list as IANA has it, in a file and by HTTP.
func TestRegistrarRealAnswer(t *testing.T) {
	recorded, err := os.ReadFile("testdata/rdap_example.cz.json")
	if err != nil {
		t.Fatal(err)
	}
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/domain/example.cz":
			_, _ = w.Write(recorded)
		case "/dns.json":
			_, _ = w.Write(listOf(server.URL))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "dns.json")
	if err := os.WriteFile(file, listOf(server.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{file, server.URL + "/dns.json"} {
		r, problem := watch(map[string]string{}, nil)
		r.HTTP = server.Client()
		s := testRegistrar(t, func(o *registrarOptions) { o.Server, o.Bootstrap, o.Domains = "", list, []string{"example.cz"} })
		at := time.Date(2019, 8, 20, 0, 0, 0, 0, time.UTC)
		next, err := s.look(t.Context(), &r.Env, at)
		want := []string{`domain_registrar_expiry warn domain/example.cz "example.cz" "2019-08-30T12:00:00Z" 10 "REG-INTERNET-CZ" "` + server.URL + `/"`}
		if diff := cmp.Diff(want, r.told(t, "domain", "expires", "days_left", "registrar", "rdap_server")); diff != "" || err != nil || *problem != "" || next != at.Add(time.Hour) {
			t.Errorf("%v, problem %q, next %s\n%s", err, *problem, next, diff)
		}
	}
	for _, list := range []string{filepath.Join(t.TempDir(), "none"), server.URL + "/none"} {
		r, problem := watch(map[string]string{}, nil)
		r.HTTP = server.Client()
		s := testRegistrar(t, func(o *registrarOptions) { o.Server, o.Bootstrap = "", list })
		if _, err := s.look(t.Context(), &r.Env, time.Now()); err != nil || !strings.Contains(*problem, "list of RDAP servers") {
			t.Errorf("without a list: %v, problem %q", err, *problem)
		}
	}
	r, problem := watch(map[string]string{}, nil)
	r.HTTP = server.Client()
	s := testRegistrar(t, func(o *registrarOptions) { o.Server, o.Bootstrap = "", file })
	if _, err := s.look(t.Context(), &r.Env, time.Now()); err != nil || !strings.Contains(*problem, "no RDAP server is listed") {
		t.Errorf("without a server: %v, problem %q", err, *problem)
	}
}

func listOf(server string) []byte {
	list, err := json.Marshal(map[string]any{
		"version": "1.0", "publication": "2024-01-07T10:11:12Z", "services": [][][]string{{{"cz", "org"}, {server + "/"}}},
	})
	if err != nil {
		panic(err)
	}
	return list
}

func TestRegistrarOptions(t *testing.T) {
	for text, says := range map[string]string{
		"{}":                               "",
		"{domains: [bücher.example]}":      "",
		"{domains: [localhost]}":           "is not a domain",
		"{domains: ['https://x.example']}": "is not a domain",
		"{interval: 59m}":                  "shorter than 1h",
		"{before: [0s]}":                   "longer than 0s",
		"{server: 'rdap.example'}":         "not an http or https URL",
		"{bootstrap: ''}":                  "name a URL or a file",
	} {
		_, err := Open(options(t, "domain_registrar_expiry: "+text), Env{}, nil)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		r, _ := watch(map[string]string{}, nil)
		forAWhile(t, testRegistrar(t, func(o *registrarOptions) { o.Domains = nil }), r, time.Hour)
		if r.status != Idle || !strings.Contains(r.lacks, "sources.domain_registrar_expiry.domains") {
			t.Errorf("without domains: %s, %s", r.status, r.lacks)
		}
	})
}
