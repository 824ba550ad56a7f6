package egress_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tocsin-events/tocsin/internal/egress"
	"github.com/tocsin-events/tocsin/internal/event"
)

// resolver answers every look-up of an address with what answer says for the
// n-th one, from 0.
func resolver(t *testing.T, answer func(name string, n int) []string) *net.Resolver {
	t.Helper()
	var asked atomic.Int32
	serve := func(conn net.Conn) {
		defer conn.Close()
		buf := make([]byte, 1<<10)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			var q dnsmessage.Message
			if err := q.Unpack(buf[2:n]); err != nil { // net.Pipe is no packet conn: length first
				t.Errorf("query: %v", err)
				return
			}
			ask := q.Questions[0]
			res := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RecursionAvailable: true}, Questions: q.Questions}
			if ask.Type == dnsmessage.TypeA {
				for _, a := range answer(strings.TrimSuffix(ask.Name.String(), "."), int(asked.Add(1))-1) {
					res.Answers = append(res.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: ask.Name, Type: ask.Type, Class: dnsmessage.ClassINET},
						Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
					})
				}
			}
			packed, err := res.Pack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Write(append([]byte{byte(len(packed) >> 8), byte(len(packed))}, packed...))
		}
	}
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go serve(server)
		return client, nil
	}}
}

func get(t *testing.T, g *egress.Guard, where string) (egress.Answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, where, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g.Do(req, egress.Limits{Time: 10 * time.Second})
}

func port(t *testing.T, server *httptest.Server) string {
	t.Helper()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

func TestRefused(t *testing.T) {
	reached := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer server.Close()
	names := resolver(t, func(name string, _ int) []string {
		if name == "inside.example.com" {
			return []string{"127.0.0.1"}
		}
		return nil // decimal and hex hosts, were they ever asked for
	})
	g := egress.New(policy(t), egress.Options{Resolver: names})
	for _, host := range []string{
		"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "inside.example.com", "localhost", "0.0.0.0", "[::]",
		"2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1.", "0x", "[fe80::1%25lo]", "[::1%25lo]", "１２７.0.0.1",
	} {
		_, err := get(t, g, "http://"+host+":"+port(t, server)+"/secret-path?token=hunter2")
		if !errors.Is(err, event.ErrDenied) && !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%s: %v", host, err)
			continue
		}
		if strings.Contains(err.Error(), "secret-path") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error tells a secret: %v", host, err)
		}
	}
	for _, network := range []string{"tcp", "udp", "unix", "ip4:icmp"} {
		if conn, err := g.Dial(t.Context(), network, "127.0.0.1:"+port(t, server)); !errors.Is(err, event.ErrDenied) {
			t.Errorf("Dial over %s: %v, %v", network, conn, err)
		}
	}
	if _, err := g.DialTLS(t.Context(), "tcp", "169.254.169.254:443", nil); !errors.Is(err, event.ErrDenied) {
		t.Errorf("DialTLS: %v", err)
	}
	if reached {
		t.Error("a refused call has reached the server")
	}
}

// A name that is public when it is looked at and private when it is called is
// refused: only the address that is dialled counts.
func TestRebinding(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close") // each call looks the name up anew
		io.WriteString(w, r.Host)
	}))
	defer server.Close()
	g := egress.New(policy(t, "127.0.0.1/32"), egress.Options{Resolver: resolver(t, func(_ string, n int) []string {
		return [][]string{{"127.0.0.1"}, {"127.0.0.2"}, {"127.0.0.2", "127.0.0.1"}}[n]
	})})
	where := "http://rebind.example.com:" + port(t, server)
	if a, err := get(t, g, where); err != nil || a.Status != 200 {
		t.Fatalf("the first answer: %+v, %v", a, err)
	}
	if _, err := get(t, g, where); !errors.Is(err, event.ErrDenied) || !strings.Contains(err.Error(), "127.0.0.2 is a loopback") {
		t.Errorf("the second answer: %v", err)
	}
	if a, err := get(t, g, where); err != nil || a.Status != 200 {
		t.Errorf("one good address among the bad: %+v, %v", a, err)
	}
}

func TestRedirects(t *testing.T) {
	var seen []*http.Request
	mux := http.NewServeMux()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r)
		mux.ServeHTTP(w, r)
	}))
	defer server.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(server.URL+"/end", http.StatusPermanentRedirect))
	defer secure.Close()
	to := func(path, where string, status int) { mux.Handle(path, http.RedirectHandler(where, status)) }
	mux.HandleFunc("/end", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})
	other := "http://other.example.com:" + port(t, server)
	to("/private", "http://127.0.0.2:"+port(t, server)+"/end", 307)
	to("/metadata", "http://169.254.169.254/latest/meta-data", 307)
	to("/decimal", "http://2130706433:"+port(t, server)+"/end", 307)
	to("/file", "file:///etc/passwd", 307)
	to("/keeps", "/end", 308)
	to("/loses", "/end", 302)
	to("/moves", other+"/end", 307)
	mux.HandleFunc("/loop/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.PathValue("n"))
		if n == 0 {
			return
		}
		http.Redirect(w, r, "/loop/"+strconv.Itoa(n-1), http.StatusTemporaryRedirect)
	})
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	g := egress.New(policy(t, "127.0.0.1/32"), egress.Options{
		Resolver: resolver(t, func(string, int) []string { return []string{"127.0.0.1"} }),
		TLS:      &tls.Config{RootCAs: roots},
	})
	post := func(where string) (egress.Answer, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, where, strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Key", "hunter2")
		req.Header.Set("Content-Type", "text/plain")
		return g.Do(req, egress.Limits{})
	}
	for where, says := range map[string]string{
		"/private": "127.0.0.2 is a loopback", "/metadata": "metadata", "/decimal": "neither a name", "/file": "not an http", "/loses": "would become GET",
		"/loop/6": "more than 5", secure.URL: "from https to http",
	} {
		if !strings.HasPrefix(where, "http") {
			where = server.URL + where
		}
		_, err := post(where)
		if err == nil || !strings.Contains(err.Error(), says) || errors.Is(err, event.ErrUnavailable) {
			t.Errorf("%s: %v, want %q and not to try again", where, err, says)
		}
	}
	for _, path := range []string{"/keeps", "/loop/5"} {
		a, err := post(server.URL + path)
		if err != nil || a.Status != 200 || path == "/keeps" && string(a.Body) != "body" {
			t.Errorf("%s: %+v, %v", path, a, err)
		}
		if got := seen[len(seen)-1].Header; got.Get("X-Key") != "hunter2" || got.Get("Referer") != "" {
			t.Errorf("%s: the same host gets %v", path, got)
		}
	}
	if a, err := post(server.URL + "/moves"); err != nil || string(a.Body) != "body" {
		t.Errorf("/moves: %+v, %v", a, err)
	}
	if got := seen[len(seen)-1].Header; got.Get("X-Key") != "" || got.Get("Referer") != "" || got.Get("Content-Type") != "text/plain" {
		t.Errorf("another host gets %v", got)
	}
}

func TestRewrite(t *testing.T) {
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r }))
	defer server.Close()
	base, err := url.Parse(server.URL + "/base")
	if err != nil {
		t.Fatal(err)
	}
	p := policy(t, "127.0.0.0/8")
	p.Rewrite = map[string]*url.URL{"hooks.example.com": base, "other.example.com:8443": base}
	g := egress.New(p, egress.Options{})
	for _, where := range []string{"https://HOOKS.example.com/a%2Fb/c?d=e", "https://other.example.com:8443/a%2Fb/c?d=e", "http://hooks.example.com:81/a%2Fb/c?d=e"} {
		if _, err := get(t, g, where); err != nil {
			t.Errorf("%s: %v", where, err)
		} else if got.RequestURI != "/base/a%2Fb/c?d=e" || got.Host != base.Host {
			t.Errorf("%s arrives as %s at %s", where, got.RequestURI, got.Host)
		}
	}
	bare := *base
	bare.Path = ""
	p.Rewrite = map[string]*url.URL{"hooks.example.com": &bare}
	g.Apply(p)
	for _, path := range []string{"/bot1:x//send", "/", "", "/a%2F..%2Fb/"} {
		if _, err := get(t, g, "https://hooks.example.com"+path); err != nil || got.RequestURI != "/"+strings.TrimPrefix(path, "/") {
			t.Errorf("%q arrives as %q: %v", path, got.RequestURI, err)
		}
	}
	p.Allow = nil
	g.Apply(p)
	if _, err := get(t, g, "https://hooks.example.com/"); !errors.Is(err, event.ErrDenied) {
		t.Errorf("the new place must be allowed: %v", err)
	}
}

// No answer, half of one, or too much of it.
func TestLimits(t *testing.T) {
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/half", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
	})
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "drop")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/reset", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) })
	server := httptest.NewServer(mux)
	defer server.Close()
	defer close(release)
	g := egress.New(policy(t, "127.0.0.1/32"), egress.Options{})
	do := func(path string, limit time.Duration) (egress.Answer, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path+"?token=hunter2", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		return g.Do(req, egress.Limits{Time: limit})
	}
	for path, says := range map[string]string{"/hang": "no answer within 200ms", "/reset": "reset", "/headers": "headers"} {
		_, err := do(path, 200*time.Millisecond)
		if !errors.Is(err, event.ErrUnavailable) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", path, err, says)
		}
	}
	for path, body := range map[string]string{"/half": "half", "/drip": "drop"} {
		a, err := do(path, time.Second)
		if err != nil || a.Status != 200 || string(a.Body) != body || a.Broken == nil {
			t.Errorf("%s: %+v, %v", path, a, err)
		}
	}
	if a, err := do("/endless", 10*time.Second); err != nil || len(a.Body) != 1<<10 || !a.More || a.Broken != nil {
		t.Errorf("/endless: %d bytes, more %t, broken %v, %v", len(a.Body), a.More, a.Broken, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/hang", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Do(req.WithContext(ctx), egress.Limits{}); !errors.Is(err, context.Canceled) || errors.Is(err, event.ErrUnavailable) {
		t.Errorf("given up by the caller: %v", err)
	}
}

// A proxy of the environment would be dialled in place of what is judged.
func TestNoProxy(t *testing.T) {
	proxied := false
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied = true }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	g := egress.New(policy(t, "127.0.0.0/8"), egress.Options{Resolver: resolver(t, func(string, int) []string { return []string{"127.0.0.3"} })})
	if _, err := get(t, g, "http://target.example.com:1/"); err == nil || proxied {
		t.Errorf("the proxy was asked: %t, %v", proxied, err)
	}
}

func TestDialTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	address := server.Listener.Addr().String()
	g := egress.New(policy(t, "127.0.0.1/32"), egress.Options{})
	if _, err := g.DialTLS(t.Context(), "tcp", address, nil); !errors.Is(err, event.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	conn, err := g.DialTLS(t.Context(), "tcp", address, &tls.Config{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
