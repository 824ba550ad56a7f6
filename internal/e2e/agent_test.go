package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// privateCA signs certificates for one test, as PEM files in a folder.
type privateCA struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newPrivateCA(t *testing.T) *privateCA {
	t.Helper()
	a := &privateCA{t: t, dir: t.TempDir()}
	var der []byte
	a.key, der = a.sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue makes a certificate for a name, and the file of its key.
func (a *privateCA) issue(name string) (cert, key string) {
	a.t.Helper()
	a.sign(name, &x509.Certificate{
		DNSNames: []string{"localhost", name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}, a.cert, a.key)
	return a.file(name + ".pem"), a.file(name + ".key")
}

func (a *privateCA) file(name string) string { return filepath.Join(a.dir, name) }

func (a *privateCA) sign(name string, c, parent *x509.Certificate, by *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return key, der
}

// wire is the network between an agent and its server: one address for both, and
// cut when a test wants it.
type wire struct {
	l net.Listener

	mu   sync.Mutex // guards both
	to   string     // host:port; empty while it is cut
	open map[net.Conn]bool
}

func newWire(t *testing.T) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l: l, open: map[net.Conn]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { w.carry(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.cut()
		all.Wait()
	})
	return w
}

func (w *wire) carry(c net.Conn) {
	defer c.Close()
	w.mu.Lock()
	to := w.to
	w.mu.Unlock()
	if to == "" {
		return
	}
	far, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer far.Close()
	w.mu.Lock()
	w.open[c], w.open[far] = true, true
	w.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(far, c); _ = far.Close() })
	both.Go(func() { _, _ = io.Copy(c, far); _ = c.Close() })
	both.Wait()
	w.mu.Lock()
	delete(w.open, c)
	delete(w.open, far)
	w.mu.Unlock()
}

// cut breaks every connection in the middle of whatever it carries.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = ""
	for c := range w.open {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

// lead lets it lead to a server.
func (w *wire) lead(s *server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, w.to, _ = strings.Cut(s.url, "://")
}

// agentFleet is a server that demands certificates, and one agent of it.
type agentFleet struct {
	t            *testing.T
	ca           *privateCA
	wire         *wire
	serverLines  []string
	agentLines   []string
	central, far *server
}

func newAgentFleet(t *testing.T) *agentFleet {
	t.Helper()
	f := &agentFleet{t: t, ca: newPrivateCA(t), wire: newWire(t)}
	cert, key := f.ca.issue("central")
	f.serverLines = []string{"tls: {cert_file: " + cert + ", key_file: " + key + ", client_ca_file: " + f.ca.file("ca.pem") + "}"}
	f.central = boot(t, t.TempDir(), f.serverLines...)
	f.wire.lead(f.central)
	token := f.ca.file("token")
	if err := os.WriteFile(token, []byte(f.central.newToken("web-1", "forward")), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key = f.ca.issue("agent")
	f.agentLines = []string{
		"forward:", "  url: https://" + f.wire.l.Addr().String(), "  token_file: " + token, "  ca_file: " + f.ca.file("ca.pem"),
		"  cert_file: " + cert, "  key_file: " + key, "  labels: {dc: fra, rack: r12}",
	}
	return f
}

// sends writes events on the agent, numbered.
func (f *agentFleet) sends(from, to int) {
	f.t.Helper()
	var lines strings.Builder
	for n := from; n < to; n++ {
		fmt.Fprintf(&lines, `{"specversion":"1.0","id":"n%d","source":"/load","type":"load","data":{"n":%d}}`+"\n", n, n)
	}
	file := filepath.Join(f.t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.far.must("emit", "--file", file)
}

// came are how often the server has each of the numbered events.
func (f *agentFleet) came() map[string]int {
	f.t.Helper()
	times := map[string]int{}
	for line := range strings.Lines(f.central.must("journal", "export")) {
		if e := parse[object](f.t, []byte(line)); e["type"] == "load" {
			times[fmt.Sprint(e["id"])]++
		}
	}
	return times
}

// row is what the server knows of its only agent.
func (f *agentFleet) row() object {
	f.t.Helper()
	items := parse[object](f.t, []byte(f.central.must("agents", "-o", "json")))["items"].([]any)
	if len(items) != 1 {
		return nil
	}
	return items[0].(object)
}

// Everything that happens on the remote host comes to the server once: over a
// link that breaks in the middle, a server that is killed and an agent that is.
func TestAgent(t *testing.T) {
	t.Parallel()
	f := newAgentFleet(t)
	data := t.TempDir()
	f.far = boot(t, data, f.agentLines...)
	f.sends(0, 100)
	eventually(t, "the first events come", func() bool { return len(f.came()) == 100 })
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	first := parse[object](t, []byte(strings.TrimSpace(f.central.must("events", `id == "n7" && attribute("dc") == "fra"`, "-o", "json"))))
	for name, want := range map[string]any{"host": host, "dc": "fra", "rack": "r12", "type": "load", "source": "/load", "recordedby": "web-1"} {
		if first[name] != want {
			t.Errorf("%s is %v, want %v", name, first[name], want)
		}
	}
	eventually(t, "the agent's report", func() bool { return f.row() != nil })
	if row := f.row(); row["name"] != host || dig(row, "labels.dc") != "fra" || row["silent"] != false || len(row["sources"].([]any)) < 10 || row["token"] != "web-1" {
		t.Errorf("the agent: %v", row)
	}

	// The link breaks while events are under way.
	for n := 100; n < 2100; n += 500 {
		f.sends(n, n+400)
		f.wire.cut()
		f.sends(n+400, n+500)
		f.wire.lead(f.central)
	}
	// The server is away, and killed when it was back for a moment.
	f.wire.cut()
	f.central.kill()
	f.sends(2100, 3000)
	f.central = boot(t, f.central.data, f.serverLines...)
	f.wire.lead(f.central)
	eventually(t, "some come", func() bool { return len(f.came()) > 2100 })
	f.central.kill()
	f.sends(3000, 4000)
	f.central = boot(t, f.central.data, f.serverLines...)
	f.wire.lead(f.central)
	// The agent is killed in the middle.
	f.sends(4000, 5000)
	f.far.kill()
	f.far = boot(t, data, f.agentLines...)
	f.sends(5000, 5100)
	eventually(t, "all have come", func() bool { return len(f.came()) == 5100 })
	for id, n := range f.came() {
		if n != 1 {
			t.Fatalf("%s came %d times", id, n)
		}
	}
	eventually(t, "nothing waits", func() bool {
		return strings.Contains(f.far.must("agents", "-o", "json"), `"lag": 0,`) && fmt.Sprint(f.row()["lag"]) == "0"
	})
	f.central.must("journal", "verify")
}

// Who lacks the certificate is refused in words that help; what it says waits.
func TestAgentRefused(t *testing.T) {
	t.Parallel()
	f := newAgentFleet(t)
	var lines []string
	for _, line := range f.agentLines {
		if !strings.Contains(line, "cert_file") && !strings.Contains(line, "key_file") {
			lines = append(lines, line)
		}
	}
	data := t.TempDir()
	f.far = boot(t, data, lines...)
	f.sends(0, 10)
	eventually(t, "the reason is shown", func() bool {
		return strings.Contains(f.far.must("agents"), "forward.cert_file and forward.key_file")
	})
	if n := len(f.came()); n != 0 {
		t.Errorf("%d events came without a certificate", n)
	}
	// With the certificate, after a reload, all of it comes.
	if err := os.WriteFile(filepath.Join(data, "test.yaml"), []byte(strings.Join(f.agentLines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.far.token = f.far.newToken("reload", "admin")
	if r := f.far.post("/v1/reload", jsonMedia, ""); r.status != 200 {
		t.Fatalf("reload: %d %s", r.status, r.body)
	}
	eventually(t, "it comes", func() bool { return len(f.came()) == 10 })

	// A forgotten agent joins anew.
	eventually(t, "the agent's report", func() bool { return f.row() != nil })
	host := fmt.Sprint(f.row()["name"])
	f.central.must("agents", "forget", host)
	if _, stderr, code := f.central.cli("agents", "no-such-host"); code != 3 || !strings.Contains(stderr, "no-such-host") {
		t.Errorf("an unknown agent: %d %s", code, stderr)
	}
}
