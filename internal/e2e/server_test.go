package e2e

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// password is the first administrator's, in every test.
const password = "correct-horse-battery"

// server is a running tocsin serve.
type server struct {
	t     *testing.T
	data  string
	url   string
	token string // admin, read and emit
	cmd   *exec.Cmd
	log   *buffer // what it wrote to standard error
	ended chan struct{}
	err   error // of Wait; set when ended is closed
}

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs a server on a new data folder; lines is its configuration file.
func start(t *testing.T, lines ...string) *server {
	t.Helper()
	return startOn(t, t.TempDir(), lines...)
}

// startOn runs a server on a data folder, and makes a token.
func startOn(t *testing.T, data string, lines ...string) *server {
	t.Helper()
	s := boot(t, data, lines...)
	s.token = s.newToken("test-"+filepath.Base(s.url), "admin", "read", "emit")
	return s
}

// boot runs a server on a data folder and waits until it is ready. It is killed
// at the test's end, where the test has not stopped it, and must then have met
// no data race.
func boot(t *testing.T, data string, lines ...string) *server {
	t.Helper()
	return bootAs(t, program, nil, data, lines...)
}

// bootAs is boot of a program as another user; nil for this one.
func bootAs(t *testing.T, program string, as *syscall.Credential, data string, lines ...string) *server {
	t.Helper()
	s := &server{t: t, data: data, log: &buffer{}, ended: make(chan struct{})}
	file := filepath.Join(data, "test.yaml")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if as != nil {
		if err := os.Chown(file, int(as.Uid), int(as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	s.cmd = exec.Command(program, "serve", "--data", data, "--listen", "127.0.0.1:0", "--config", file)
	s.cmd.Env = environ("TOCSIN_ADMIN_PASSWORD=" + password)
	s.cmd.Stderr = s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if _, at, ok := strings.Cut(lines.Text(), "ready at "); ok {
				ready <- at
			}
		}
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		s.kill()
		if strings.Contains(s.log.String(), "DATA RACE") || strings.Contains(s.log.String(), "panic: ") {
			t.Errorf("the server:\n%s", s.log)
		}
	})
	select {
	case s.url = <-ready:
	case <-s.ended:
		t.Fatalf("the server ended: %v\n%s", s.err, s.log)
	case <-time.After(patience):
		t.Fatalf("the server is not ready:\n%s", s.log)
	}
	return s
}

// kill ends the server as a power cut would, and waits for its end.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// stop ends the server by SIGTERM; it must end well.
func (s *server) stop() {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.t.Fatalf("the server does not end:\n%s", s.log)
	}
	if s.err != nil {
		s.t.Fatalf("the server ended with %v:\n%s", s.err, s.log)
	}
}

func (s *server) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// cli runs the program against this server's socket and returns what it printed
// and its exit code.
func (s *server) cli(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	return runCLI(s.t, nil, append([]string{"--data", s.data}, args...)...)
}

// must is cli for what must succeed.
func (s *server) must(args ...string) string {
	s.t.Helper()
	out, errOut, code := s.cli(args...)
	if code != 0 {
		s.t.Fatalf("tocsin %s: exit %d: %s%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

func runCLI(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = environ(env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// newToken makes an API token over the socket.
func (s *server) newToken(name string, scopes ...string) string {
	s.t.Helper()
	args := []string{"tokens", "create", "--name", name}
	for _, scope := range scopes {
		args = append(args, "--scope", scope)
	}
	return strings.TrimSpace(s.must(args...))
}

// reply is an answer of the server.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// request sends a request with the server's token; headers are name, value
// pairs. An Authorization among them, also an empty one, stands in its place.
func (s *server) request(method, path string, body io.Reader, headers ...string) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return reply{resp.StatusCode, resp.Header, raw}
}

// client waits no longer than a test does.
var client = &http.Client{}

const (
	jsonMedia   = "application/json"
	eventMedia  = "application/cloudevents+json"
	batchMedia  = "application/cloudevents-batch+json"
	linesMedia  = "application/x-ndjson"
	problemType = "application/problem+json"
)

func (s *server) get(path string) reply {
	s.t.Helper()
	return s.request(http.MethodGet, path, nil)
}

func (s *server) post(path, media, body string, headers ...string) reply {
	s.t.Helper()
	return s.request(http.MethodPost, path, strings.NewReader(body), append([]string{"Content-Type", media}, headers...)...)
}

// emit sends events in a media type and expects them to be taken.
func (s *server) emit(media, body string) object {
	s.t.Helper()
	r := s.post("/v1/events", media, body)
	if r.status != http.StatusAccepted {
		s.t.Fatalf("POST /v1/events: %d %s", r.status, clip(r.body))
	}
	return parse[object](s.t, r.body)
}

// page is a page of events.
type page struct {
	Events []object `json:"events"`
	Next   *string  `json:"next"`
}

// find searches; parameters are name, value pairs.
func (s *server) find(parameters ...string) page {
	s.t.Helper()
	q := url.Values{}
	for i := 0; i < len(parameters); i += 2 {
		q.Set(parameters[i], parameters[i+1])
	}
	r := s.get("/v1/events?" + q.Encode())
	if r.status != http.StatusOK {
		s.t.Fatalf("GET /v1/events?%s: %d %s", q.Encode(), r.status, clip(r.body))
	}
	return parse[page](s.t, r.body)
}

// one finds the only event that fits a filter.
func (s *server) one(filter string) object {
	s.t.Helper()
	found := s.find("filter", filter)
	if len(found.Events) != 1 {
		s.t.Fatalf("%d events fit %s, want 1: %v", len(found.Events), filter, found.Events)
	}
	return found.Events[0]
}

// wantProblem checks that an answer is a problem (RFC 9457) with a status, and
// returns it.
func (r reply) wantProblem(t *testing.T, status int) object {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, clip(r.body))
	}
	if media := r.header.Get("Content-Type"); media != problemType {
		t.Errorf("Content-Type %q, want %q", media, problemType)
	}
	p := parse[object](t, r.body)
	for _, name := range []string{"type", "title", "detail"} {
		if text, ok := p[name].(string); !ok || text == "" {
			t.Errorf("the problem has no %s: %s", name, clip(r.body))
		}
	}
	if got := dig(p, "status"); got == nil || got.(interface{ String() string }).String() != itoa(status) {
		t.Errorf("the problem's status is %v, want %d", got, status)
	}
	return p
}

// follow runs tocsin events --follow until the test ends, and returns what it
// prints.
func follow(t *testing.T, s *server, filter string) *buffer {
	t.Helper()
	out := &buffer{}
	cmd := exec.Command(program, "--data", s.data, "events", filter, "--follow", "-o", "json")
	cmd.Env, cmd.Stdout = environ(), out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return out
}
