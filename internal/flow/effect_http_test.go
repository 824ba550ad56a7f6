package flow

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/egress"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/redact"
	"github.com/tocsin-events/tocsin/internal/state"
)

// out leads a kit's requests through a guard that lets them reach the loopback.
func (k *kit) out(tlsOf *httptest.Server, rewrite map[string]*url.URL) {
	k.t.Helper()
	o := egress.Options{}
	if tlsOf != nil {
		pool := x509.NewCertPool()
		pool.AddCert(tlsOf.Certificate())
		o.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	guard := egress.New(egress.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Rewrite: rewrite}, o)
	k.t.Cleanup(guard.Close)
	k.o.HTTP, k.o.HTTPWith = guard.RoundTripper(), guard.RoundTripperWith
}

// aRun is a run that may do everything.
func aRun(scopes ...string) *Run {
	return &Run{ID: "feed", Flow: 7, Document: Document{FlowName: "restart", Scopes: scopes}}
}

// does performs one effect, and its write.
func (k *kit) does(r *Run, f *program.Effect) program.Answer {
	k.t.Helper()
	a, err := (&hands{e: k.Engine, r: r, used: &used{}}).Do(k.t.Context(), *f)
	if err != nil {
		k.t.Fatal(err)
	}
	return a
}

func (k *kit) asks(q *program.Request) program.Answer {
	k.t.Helper()
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	f := program.Effect{Key: "/do/0/ask#" + q.URI + q.Output, Kind: program.EffectHTTP, HTTP: q}
	a, err := k.perform(k.t.Context(), aRun(), &f)
	if err != nil {
		k.t.Fatal(err)
	}
	return a.answer
}

// remote is a service that keeps what it is asked.
type remote struct {
	*httptest.Server
	mu  sync.Mutex // guards got
	got []heardRequest
}

type heardRequest struct {
	method, path, body string
	header             http.Header
	host               string
}

func newRemote(t *testing.T, answer http.HandlerFunc) *remote {
	t.Helper()
	s := &remote{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what broke off is not kept whole
		s.mu.Lock()
		s.got = append(s.got, heardRequest{r.Method, r.URL.RequestURI(), string(body), r.Header, r.Host})
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *remote) all() []heardRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]heardRequest{}, s.got...)
}

func (s *remote) last(t *testing.T) heardRequest {
	t.Helper()
	all := s.all()
	if len(all) == 0 {
		t.Fatal("nobody has called")
	}
	return all[len(all)-1]
}

func reply(w http.ResponseWriter, kind, body string) {
	w.Header().Set("Content-Type", kind)
	io.WriteString(w, body)
}

// What is sent has the key and the credentials; what comes back is the output in
// the form that the task wants.
func TestHTTP(t *testing.T) {
	k := newKit(t)
	k.out(nil, nil)
	s := newRemote(t, func(w http.ResponseWriter, r *http.Request) {
		reply(w, "application/json", `{"n":1,"path":"`+r.URL.Path+`"}`)
	})
	a := k.asks(&program.Request{Method: "POST", URI: s.URL + "/a?b=c", Headers: map[string]string{"X-Own": "1", "Host": "inner.example"}, Body: []byte("x"), Auth: &program.Auth{Scheme: "basic", Username: "u", Password: "p"}})
	if diff := cmp.Diff(map[string]any{"n": 1, "path": "/a"}, a.Output); diff != "" || a.Err != nil {
		t.Error(diff, a.Err)
	}
	got := s.last(t)
	want := map[string]string{"Idempotency-Key": "feed/do/0/ask#" + s.URL + "/a?b=c", "X-Own": "1", "Authorization": "Basic dTpw", "User-Agent": "Tocsin/test", "Accept": "application/json, text/plain;q=0.9, */*;q=0.8"}
	for name, value := range want {
		if got.header.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, got.header.Get(name), value)
		}
	}
	if got.method != "POST" || got.path != "/a?b=c" || got.body != "x" || got.host != "inner.example" {
		t.Errorf("it got %+v", got)
	}
	k.asks(&program.Request{URI: s.URL, Headers: map[string]string{"Idempotency-Key": "mine", "Accept": "text/csv", "User-Agent": "me"}})
	if h := s.last(t).header; h.Get("Idempotency-Key") != "mine" || h.Get("Accept") != "text/csv" || h.Get("User-Agent") != "me" {
		t.Errorf("what the document sets itself was replaced: %v", h)
	}
	whole := k.asks(&program.Request{URI: s.URL + "/w", Output: "response"}).Output.(map[string]any)
	if whole["statusCode"] != 200 || whole["headers"].(map[string]any)["content-type"] != "application/json" {
		t.Errorf("the form response is %v", whole)
	}
}

// A redirect is an answer, and nothing is sent to where it leads.
func TestHTTPRedirect(t *testing.T) {
	k := newKit(t)
	k.out(nil, nil)
	s := newRemote(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	if a := k.asks(&program.Request{URI: s.URL}); a.Err == nil || a.Err.Status != 302 || a.Err.Type != program.TypeCommunication {
		t.Errorf("%+v", a)
	}
	a := k.asks(&program.Request{URI: s.URL, Redirect: true, Output: "response"})
	if _, ok := a.Output.(map[string]any); !ok || a.Err != nil || a.Output.(map[string]any)["headers"].(map[string]any)["location"] != "/elsewhere" || len(s.all()) != 2 {
		t.Errorf("%+v after %d requests", a, len(s.all()))
	}
}

// Each way to fail has the type and status that a flow can catch.
func TestHTTPFailures(t *testing.T) {
	k := newKit(t)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	k.out(nil, nil)
	s := newRemote(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/429":
			w.Header().Set("Retry-After", "17")
			w.WriteHeader(http.StatusTooManyRequests)
		case "/401":
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case "/huge":
			chunk := make([]byte, 64<<10)
			for range maxAnswer/len(chunk) + 2 {
				w.Write(chunk)
			}
		case "/half":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half")
		case "/nojson":
			reply(w, "application/json", "{")
		}
	})
	for _, tt := range []struct {
		uri, kind string
		status    int
		says      string
	}{
		{s.URL + "/429", program.TypeCommunication, 429, "Retry-After: 17"},
		{s.URL + "/401", program.TypeCommunication, 401, "who are you?"},
		{s.URL + "/huge", program.TypeCommunication, 413, "more than 4 MiB"},
		{s.URL + "/half", program.TypeCommunication, 503, "unexpected EOF"},
		{s.URL + "/nojson", program.TypeCommunication, 502, "is not"},
		{"http://127.0.0.1:1/", program.TypeCommunication, 503, "refused"},
		{"http://127.0.0.2:1/", program.TypeAuthorization, 403, "egress.allow"},
		{"http://169.254.169.254/latest", program.TypeAuthorization, 403, "metadata"},
		{"http://2130706433/", program.TypeConfiguration, 400, "neither a name"},
		{secure.URL, program.TypeCommunication, 503, "certificate"},
	} {
		a := k.asks(&program.Request{URI: tt.uri})
		if a.Err == nil || a.Err.Type != tt.kind || a.Err.Status != tt.status || !strings.Contains(a.Err.Detail, tt.says) {
			t.Errorf("%s: %+v, want %d %s %q", tt.uri, a.Err, tt.status, tt.kind, tt.says)
		}
	}
	k.out(secure, nil)
	if a := k.asks(&program.Request{URI: secure.URL}); a.Err == nil || a.Err.Status != 404 {
		t.Errorf("with its authority: %+v", a.Err)
	}
}

// egress.rewrite leads a call elsewhere, as it does for webhooks.
func TestHTTPRewrite(t *testing.T) {
	k := newKit(t)
	s := newRemote(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, "text/plain", "here") })
	to, err := url.Parse(s.URL + "/fake")
	if err != nil {
		t.Fatal(err)
	}
	k.out(nil, map[string]*url.URL{"api.example.com": to})
	if a := k.asks(&program.Request{URI: "https://api.example.com/v1"}); a.Output != "here" || s.last(t).path != "/fake/v1" {
		t.Errorf("%+v", a)
	}
}

// A service that hangs holds a run for its timeout and no longer; a run that is
// cancelled gives up at once, and that is no answer.
func TestHTTPHangs(t *testing.T) {
	k := newKit(t)
	k.out(nil, nil)
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	s := newRemote(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	f := program.Effect{Key: "/do/0/x", Kind: program.EffectHTTP, HTTP: &program.Request{Method: "GET", URI: s.URL}}
	if out, err := k.perform(ctx, aRun(), &f); !errors.Is(err, context.Canceled) || out.answer.Err != nil {
		t.Errorf("cancelled: %+v, %v", out, err)
	}
	id := k.flow(named("hangs", `  - ask:
      call: http
      with: {method: get, endpoint: "`+s.URL+`"}
      timeout: {after: {milliseconds: 100}}
`))
	r, err := k.StartRun(t.Context(), state.System(), id, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if r = k.ends(r.ID, Faulted); r.Fault == nil || r.Fault.Type != program.TypeTimeout {
		t.Errorf("%s %+v", r.Error, r.Fault)
	}
}

func TestOwnTimeLimit(t *testing.T) {
	ctx, cancel := context.WithDeadlineCause(t.Context(), time.Now().Add(-time.Second), errNoTime)
	defer cancel()
	err := notAnswered(&program.Request{Method: "GET", URI: "http://x/"}, plainError(ctx, ctx.Err()))
	if err.Type != program.TypeTimeout || err.Status != 408 {
		t.Errorf("%+v", err)
	}
}

func TestHeaderKey(t *testing.T) {
	for key, want := range map[string]string{"ab/do/0/x#1.2": "ab/do/0/x#1.2", "ab/do/0/größe": "", "ab/do/0/a\nb": "", "ab/" + strings.Repeat("x", 300): ""} {
		got := headerKey(key)
		if want != "" && got != want || !strings.HasPrefix(got, "ab/") || len(got) > 200 || strings.ContainsFunc(got, func(c rune) bool { return c <= ' ' || c > '~' }) {
			t.Errorf("headerKey(%q) = %q", key, got)
		}
	}
	if headerKey("ab/do/0/größe") == headerKey("ab/do/0/grüße") {
		t.Error("two keys have become one")
	}
}

// A stored secret is nowhere in what is journalled, although the service sends it
// back, and neither are the credentials that the document writes itself.
func TestHTTPKeepsSecrets(t *testing.T) {
	k := newKit(t)
	k.out(nil, nil)
	k.secretOf("api", `{"username":"robot","token":"s3cr3t/value"}`)
	s := newRemote(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fail" {
			http.Error(w, "wrong: "+r.Header.Get("Authorization")+r.URL.RawQuery, http.StatusForbidden)
			return
		}
		w.Header().Set("X-Echo", r.Header.Get("X-Api-Key"))
		reply(w, "application/json", `{"echo":["`+r.Header.Get("Authorization")+`"]}`)
	})
	id := k.flow(`document: {dsl: '1.0.3', namespace: test, name: keeps, version: '1.0.0'}
use: {secrets: [api], authentications: {own: {bearer: {use: api}}}}
do:
  - ask:
      call: http
      with:
        method: get
        endpoint: {uri: "` + s.URL + `/ok", authentication: {use: own}}
        headers: {X-Api-Key: "${ $secrets.api.token }"}
        query: {q: "${ $secrets.api.token }"}
        output: response
  - fails:
      call: http
      with:
        method: get
        endpoint: {uri: "` + s.URL + `/fail", authentication: {use: own}}
        query: {q: "${ $secrets.api.token }"}
`)
	r, err := k.StartRun(t.Context(), state.System(), id, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	r = k.ends(r.ID, Faulted, Completed)
	if got := s.all(); len(got) != 2 || got[0].header.Get("Authorization") != "Bearer s3cr3t/value" || got[0].header.Get("X-Api-Key") != "s3cr3t/value" {
		t.Fatalf("the service got %+v", got)
	}
	text, err := json.Marshal(&r.Document)
	if err != nil {
		t.Fatal(err)
	}
	if r.State != Faulted || r.Fault.Status != 403 || strings.Contains(string(text), "s3cr3t") {
		t.Errorf("the run tells a secret: %s", text)
	}
	if !strings.Contains(string(text), redact.Mask) || !strings.Contains(string(text), "wrong: ") {
		t.Errorf("the run tells too little: %s", text)
	}
	for _, e := range k.all("") {
		if strings.Contains(string(e.AppendJSON(nil)), "s3cr3t") {
			t.Errorf("%s tells a secret", e.Type)
		}
	}
}

// The answer itself, which is journalled, has neither a stored secret nor the
// credentials of the request.
func TestHTTPAnswerKeepsSecrets(t *testing.T) {
	k := newKit(t)
	k.out(nil, nil)
	k.secretOf("api", `"s3cr3t/value"`)
	s := newRemote(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, "text/plain", "you said s3cr3t/value") })
	a := k.asks(&program.Request{URI: s.URL + "/?api_key=other", Headers: map[string]string{"X-Api-Key": "another", "X-Kind": "plain"}, Output: "response"})
	out, _ := a.Output.(map[string]any)
	sent, _ := out["request"].(map[string]any)
	if out["content"] != "you said "+redact.Mask || !cmp.Equal(sent["headers"], map[string]any{"X-Api-Key": redact.Mask, "X-Kind": "plain"}) || strings.Contains(sent["uri"].(string), "other") {
		t.Errorf("%+v", a)
	}
	if got := s.last(t); got.path != "/?api_key=other" || got.header.Get("X-Api-Key") != "another" {
		t.Errorf("what is sent was masked: %+v", got)
	}
}

func (k *kit) secretOf(name, value string) state.ObjectID {
	k.t.Helper()
	s, err := k.CreateSecret(k.t.Context(), state.System(), name, json.RawMessage(value))
	if err != nil {
		k.t.Fatal(err)
	}
	return s.ID
}
