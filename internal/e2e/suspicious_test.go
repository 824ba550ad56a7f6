package e2e

import (
	"bufio"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSuspiciousRequests refuses and records paths that climb out and host names
// that are nobody's, and lets honest ones through.
func TestSuspiciousRequests(t *testing.T) {
	s := start(t, "public_url: http://tocsin.example")
	at, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	// ask writes a request as no client would let one.
	ask := func(path, host string) int {
		t.Helper()
		c, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", at.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%s of %s: %v", path, host, err)
		}
		defer r.Body.Close()
		return r.StatusCode
	}
	for _, tt := range []struct {
		path, host string
		status     int
	}{
		{"/healthz", "tocsin.example", 200},
		{"/healthz", "TOCSIN.example:80", 200},
		{"/healthz", at.Host, 200},
		{"/healthz", "localhost:7722", 200},
		{"/healthz", "[::1]:7722", 200},
		{"/healthz", "evil.example", 421},
		{"/healthz", "tocsin.example.evil.example", 421},
		{"/static/../../etc/passwd", "tocsin.example", 400},
		{"/static/%2e%2e/%2e%2e/etc/passwd", "tocsin.example", 400},
		{"/static/..%5c..%5cetc", "tocsin.example", 400},
		{"/v1/events/%00", "tocsin.example", 400},
		{"/v1/catalog/a..b", "tocsin.example", 401},
	} {
		if got := ask(tt.path, tt.host); got != tt.status {
			t.Errorf("%s of %s: %d, want %d", tt.path, tt.host, got, tt.status)
		}
	}
	reasons := map[string]int{}
	for _, e := range s.find("filter", `type == "suspicious_request"`).Events {
		reasons[text(e["data"].(object)["message"])]++
		if e["clientip"] != "127.0.0.1" {
			t.Errorf("it came from %v", e["clientip"])
		}
	}
	if reasons["the path climbs out of where it begins"] != 4 || len(reasons) != 2 {
		t.Errorf("recorded: %v", reasons)
	}
}

// alter changes the state database below the running server.
func (s *server) alter(statement string) {
	s.t.Helper()
	const program = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1],timeout=20); c.execute(sys.argv[2]); c.commit()"
	if out, err := exec.Command(tool(s.t, "python3"), "-c", program, filepath.Join(s.data, "state.db"), statement).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v %s", statement, err, out)
	}
}

// TestTaskException breaks the state database below a running source: its failure
// is recorded as a structure, and it goes on when the database is whole again.
func TestTaskException(t *testing.T) {
	s := start(t, "sources: {disk_full: {interval: 1s}}")
	s.alter("ALTER TABLE facts RENAME TO facts_gone")
	failures := func() []object { return s.find("filter", `type == "system_task_exception"`, "order", "asc").Events }
	eventually(t, "the failure is recorded", func() bool { return len(failures()) > 0 })
	s.alter("ALTER TABLE facts_gone RENAME TO facts")
	e := failures()[0]
	d := e["data"].(object)
	x, ok := d["exception"].(object)
	if !ok || !strings.Contains(text(d["message"]), "the source disk_full has failed") || text(x["type"]) == "" || !strings.Contains(text(x["message"]), "facts") || len(x["frames"].([]any)) == 0 {
		t.Errorf("recorded: %v", e)
	}
	eventually(t, "the source runs again", func() bool {
		for _, row := range parse[struct{ Items []object }](t, s.get("/v1/sources").body).Items {
			if row["name"] == "disk_full" {
				return row["status"] == "running"
			}
		}
		return false
	})
}
