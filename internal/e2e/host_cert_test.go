package e2e

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// component runs a program until the test ends, or until the function that is
// returned is called.
func component(t *testing.T, env []string, argv ...string) (stop func()) {
	t.Helper()
	var said buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environ(env...), &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("%s: %s", argv[0], said.String())
		}
	})
	return stop
}

// does runs a program to its end and wants an exit status.
func does(t *testing.T, status int, env []string, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = environ(env...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
		t.Fatalf("%s: %v, want status %d\n%s", strings.Join(argv, " "), err, status, out)
	}
	return string(out)
}

// built finds a program that scripts/tools.sh builds, or skips.
func built(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(root, "bin", name)
	if _, err := os.Stat(path); err != nil {
		need(t, name, "run scripts/tools.sh")
	}
	return path
}

// acmeServer is a Pebble: an ACME server for tests that gives certificates of ten
// days to every name but blocked.example.
type acmeServer struct {
	directory, roots, http string
}

func startAuthority(t *testing.T) acmeServer {
	t.Helper()
	pebble, names, openssl := built(t, "pebble"), built(t, "pebble-challtestsrv"), tool(t, "openssl")
	dir := t.TempDir()
	at := map[string]string{}
	for _, name := range []string{"acme", "manage", "http", "tls", "dns", "names"} {
		at[name] = freeAddress(t)
	}
	key, cert := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	does(t, 0, nil, openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
	port := func(name string) string { _, p, _ := net.SplitHostPort(at[name]); return p }
	file := writeFile(t, dir, "pebble.json", fmt.Sprintf(`{"pebble": {"listenAddress": %q, "managementListenAddress": %q, "certificate": %q, "privateKey": %q, "httpPort": %s, "tlsPort": %s,
		"domainBlocklist": ["blocked.example"], "retryAfter": {"authz": 1, "order": 1}, "keyAlgorithm": "ecdsa", "profiles": {"default": {"description": "ten days", "validityPeriod": 864000}}}}`,
		at["acme"], at["manage"], cert, key, port("http"), port("tls")))
	component(t, nil, names, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dnsserver", at["dns"], "-management", at["names"], "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "")
	component(t, []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0", "PEBBLE_WFE_NONCEREJECT=0"}, pebble, "-config", file, "-dnsserver", at["dns"])
	for _, name := range []string{"acme", "names"} {
		eventually(t, "the authority answers", func() bool {
			conn, err := net.Dial("tcp", at[name])
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
	}
	return acmeServer{"https://" + at["acme"] + "/dir", cert, port("http")}
}

// certbot runs certbot in a folder.
func (a *acmeServer) certbot(t *testing.T, status int, dir string, args ...string) {
	t.Helper()
	does(t, status, []string{"REQUESTS_CA_BUNDLE=" + a.roots}, append([]string{
		tool(t, "certbot"), "--config-dir", filepath.Join(dir, "le"), "--work-dir", filepath.Join(dir, "w"), "--logs-dir", filepath.Join(dir, "l"), "--server", a.directory, "-n",
	}, args...)...)
}

// lego runs lego in a folder, its output in its log.
func (a *acmeServer) lego(t *testing.T, status int, dir, port, name string, args ...string) {
	t.Helper()
	said := does(t, status, []string{"LEGO_CA_CERTIFICATES=" + a.roots}, append([]string{
		tool(t, "lego"), "--path", filepath.Join(dir, "lego"), "--server", a.directory, "--email", "ops@t.example", "--accept-tos", "--domains", name, "--http", "--http.port", "127.0.0.1:" + port,
	}, args...)...)
	f, err := os.OpenFile(filepath.Join(dir, "lego.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(said); err != nil {
		t.Fatal(err)
	}
}

// certificates is a host with its clients' folders, and a server that watches them.
func certificates(t *testing.T) (dir string, lines []string) {
	t.Helper()
	dir = t.TempDir()
	for _, d := range []string{"le", "l", "lego", "caddy"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir, []string{strings.ReplaceAll(`sources:
  cert_renew:
    certbot: [D/le]
    certbot_logs: [D/l/letsencrypt.log]
    lego: [D/lego]
    lego_logs: [D/lego.log]
    caddy: [D/caddy]
    caddy_logs: [D/caddy.log]
  domain_expiry: {paths: [D/le/live, D/lego/certificates]}`, "D", dir)}
}

// told waits for the newest event that fits a filter, and gives its data without
// what differs from run to run.
func (s *server) told(filter string, without ...string) object {
	s.t.Helper()
	var found []object
	eventually(s.t, filter, func() bool {
		found = s.find("filter", filter).Events
		return len(found) > 0
	})
	if len(found) != 1 {
		s.t.Fatalf("%d events fit %s: %v", len(found), filter, found)
	}
	if found[0]["kind"] != "host" || found[0]["host"] == "" {
		s.t.Errorf("kind %v, host %v", found[0]["kind"], found[0]["host"])
	}
	data, _ := found[0]["data"].(object)
	for _, name := range without {
		if data[name] == nil || data[name] == "" {
			s.t.Errorf("%s is missing in %v", name, data)
		}
		delete(data, name)
	}
	return data
}

// issued waits for the event of a certificate that a client got.
func (s *server) issued(client, name, path string, renewed bool) {
	s.t.Helper()
	got := s.told(fmt.Sprintf(`type == "cert_renew" && severity == info && data.ok && data.client == %q && data.renewed == %t`, client, renewed), "issuer", "serial", "not_before", "not_after")
	want := object{"domain": name, "domains": []any{name}, "ok": true, "renewed": renewed, "client": client, "path": path}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Error(diff)
	}
}

// refused waits for the event of a certificate that a client did not get.
func (s *server) refused(client, name, reason string, more object) {
	s.t.Helper()
	got := s.told(fmt.Sprintf(`type == "cert_renew" && severity == error && !data.ok && data.client == %q && data.domain == %q`, client, name))
	if !strings.Contains(text(got["error"]), reason) {
		s.t.Errorf("%s: the reason is %q", client, got["error"])
	}
	delete(got, "error")
	want := object{"domain": name, "domains": []any{name}, "ok": false, "client": client}
	maps.Copy(want, more)
	if more["path"] != nil {
		want["issuer"], want["not_after"] = got["issuer"], got["not_after"]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Error(diff)
	}
}

// portOf is the port of a free address.
func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// Certificates of a real authority: issued, renewed and refused. A renewal while
// the server is down is told when it is back.
func TestHostCertbot(t *testing.T) {
	t.Parallel()
	a := startAuthority(t)
	dir, lines := certificates(t)
	s := start(t, lines...)
	eventually(t, "the source looks", func() bool { return s.source("cert_renew")["status"] == "idle" })
	nobody := portOf(freeAddress(t))
	a.certbot(t, 0, dir, "certonly", "--agree-tos", "-m", "ops@t.example", "--standalone", "--http-01-port", a.http, "--http-01-address", "127.0.0.1", "-d", "www.tocsin.test")
	path := filepath.Join(dir, "le", "live", "www.tocsin.test", "cert.pem")
	s.issued("certbot", "www.tocsin.test", path, false)
	if s.source("cert_renew")["status"] != "running" {
		t.Errorf("%v", s.source("cert_renew"))
	}
	a.certbot(t, 1, dir, "certonly", "--standalone", "--http-01-port", nobody, "--http-01-address", "127.0.0.1", "-d", "fail.tocsin.test")
	s.refused("certbot", "fail.tocsin.test", "connection refused", nil)
	s.stop()
	a.certbot(t, 0, dir, "renew", "--force-renewal", "--no-random-sleep-on-renew")
	s = startOn(t, s.data, lines...)
	s.issued("certbot", "www.tocsin.test", path, true)
	a.certbot(t, 1, dir, "renew", "--force-renewal", "--no-random-sleep-on-renew", "--http-01-port", nobody)
	s.refused("certbot", "www.tocsin.test", "Some challenges have failed", object{"path": path})
}

// The same with lego.
func TestHostCertLego(t *testing.T) {
	t.Parallel()
	a := startAuthority(t)
	dir, lines := certificates(t)
	s := start(t, lines...)
	eventually(t, "the source looks", func() bool { return s.source("cert_renew")["status"] == "idle" })
	a.lego(t, 0, dir, a.http, "lego.tocsin.test", "run")
	path := filepath.Join(dir, "lego", "certificates", "lego.tocsin.test.crt")
	s.issued("lego", "lego.tocsin.test", path, false)
	a.lego(t, 0, dir, a.http, "lego.tocsin.test", "renew", "--days", "90", "--no-random-sleep")
	s.issued("lego", "lego.tocsin.test", path, true)
	a.lego(t, 1, dir, portOf(freeAddress(t)), "fail.lego.test", "run")
	s.refused("lego", "fail.lego.test", "urn:ietf:params:acme:error:connection", nil)
}

// Caddy keeps its certificates by itself; what it serves ends soon, which is told
// of the file and of the endpoint, by its name.
func TestHostCertCaddy(t *testing.T) {
	a := startAuthority(t)
	dir, lines := certificates(t)
	served := freeAddress(t)
	lines[0] = strings.TrimSuffix(lines[0], "}") + ", endpoints: [caddy.tocsin.test@" + served + ", " + freeAddress(t) + "], endpoint_interval: 1s}"
	s := start(t, lines...)
	eventually(t, "the source looks", func() bool { return s.source("cert_renew")["status"] == "idle" })
	file := writeFile(t, dir, "Caddyfile", fmt.Sprintf(`{
	storage file_system %[1]s/caddy
	acme_ca %[2]s
	acme_ca_root %[3]s
	admin off
	http_port %[4]s
	https_port %[5]s
	default_bind 127.0.0.1
	log {
		output file %[1]s/caddy.log
		format json
	}
}
caddy.tocsin.test {
	respond "here"
}
blocked.example {
	respond "never"
}
`, dir, a.directory, a.roots, a.http, portOf(served)))
	component(t, []string{"HOME=" + dir}, tool(t, "caddy"), "run", "--config", file, "--adapter", "caddyfile")

	got := s.told(`type == "cert_renew" && data.ok`, "issuer", "serial", "not_before", "not_after")
	want := object{"domain": "caddy.tocsin.test", "domains": []any{"caddy.tocsin.test"}, "ok": true, "renewed": false, "client": "caddy", "path": text(got["path"])}
	if diff := cmp.Diff(want, got); diff != "" || !strings.HasPrefix(text(got["path"]), dir+"/caddy/certificates/") {
		t.Error(got["path"], diff)
	}
	got = s.told(`type == "cert_renew" && !data.ok`, "error")
	want = object{"domain": "blocked.example", "domains": []any{"blocked.example"}, "ok": false, "client": "caddy"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = s.told(`type == "domain_expiry"`, "not_after", "issuer", "problem")
	want = object{"domain": "caddy.tocsin.test", "days_left": got["days_left"], "expired": false, "endpoint": "caddy.tocsin.test@" + served, "trusted": false}
	if diff := cmp.Diff(want, got); diff != "" || fmt.Sprint(got["days_left"]) != "9" {
		t.Error(got["days_left"], diff)
	}
	eventually(t, "the endpoint that does not answer is named", func() bool {
		return strings.Contains(text(s.source("domain_expiry")["last_error"]), "refused")
	})
}

// A certificate of a real authority that ends in ten days is told once, also over a
// restart.
func TestHostDomainExpiry(t *testing.T) {
	t.Parallel()
	a := startAuthority(t)
	dir, lines := certificates(t)
	a.lego(t, 0, dir, a.http, "soon.tocsin.test", "run")
	s := start(t, lines...)
	got := s.told(`type == "domain_expiry"`, "issuer", "not_after")
	want := object{"domain": "soon.tocsin.test", "days_left": got["days_left"], "expired": false, "path": filepath.Join(dir, "lego/certificates/soon.tocsin.test.crt")}
	if diff := cmp.Diff(want, got); diff != "" || fmt.Sprint(got["days_left"]) != "9" {
		t.Error(got["days_left"], diff)
	}
	s.stop()
	s = startOn(t, s.data, lines...)
	eventually(t, "the source looks", func() bool { return s.source("domain_expiry")["status"] == "running" })
	s.must("emit", "settled", "--severity", "info")
	s.one(`type == "domain_expiry"`)
	if len(s.find("filter", `type == "cert_renew"`).Events) != 0 {
		t.Error("a certificate that was there is told as new")
	}
}
