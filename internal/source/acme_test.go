package source

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
)

// acmeFolders is a host with the three clients, and options that lead there.
func acmeFolders(t *testing.T) (dir, options string) {
	t.Helper()
	dir = t.TempDir()
	for _, d := range []string{"le/live", "lego", "caddy", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir, strings.ReplaceAll(`{certbot: [D/le], certbot_logs: [D/log/letsencrypt.log], lego: [D/lego], lego_logs: [D/log/lego.log], caddy: [D/caddy], caddy_logs: [D/log/caddy.log]}`, "D", dir)
}

// issue puts a certificate where a client would, with certbot's links.
func issue(t *testing.T, path, name string, days int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if filepath.Base(path) != "cert.pem" {
		writeCertificate(t, path, name, time.Now().AddDate(0, 0, days).Truncate(time.Second), false)
		return
	}
	archive := filepath.Join(filepath.Dir(path), fmt.Sprint("cert", time.Now().UnixNano(), ".archive"))
	writeCertificate(t, archive, name, time.Now().AddDate(0, 0, days).Truncate(time.Second), false)
	_ = os.Remove(path)
	if err := os.Symlink(archive, path); err != nil {
		t.Fatal(err)
	}
}

// What is there at first is not told; what is new is, also in folders that are
// made while nobody looks, and what came while the server was down; each once.
func TestAcmeFolders(t *testing.T) {
	t.Parallel()
	dir, options := acmeFolders(t)
	issue(t, filepath.Join(dir, "le/live/old.example/cert.pem"), "old.example", 10)
	s := newStage()
	count := func(n int) func() bool { return func() bool { return len(s.events) == n } }
	stop := s.runs(t, opens(t, "cert_renew", options).source)
	s.until(t, "the first look", func() bool { return s.status == Running })
	issue(t, filepath.Join(dir, "le/live/new.example/cert.pem"), "new.example", 90)
	s.until(t, "a new folder of certbot", count(1))
	issue(t, filepath.Join(dir, "lego/certificates/lego.example.crt"), "lego.example", 90)
	issue(t, filepath.Join(dir, "lego/certificates/lego.example.issuer.crt"), "authority", 900)
	s.until(t, "lego's first certificate", count(2))
	issue(t, filepath.Join(dir, "caddy/certificates/acme-v02/caddy.example/caddy.example.crt"), "caddy.example", 90)
	s.until(t, "Caddy's first certificate", count(3))
	stop()
	issue(t, filepath.Join(dir, "le/live/old.example/cert.pem"), "old.example", 90)
	stop = s.runs(t, opens(t, "cert_renew", options).source)
	s.until(t, "a renewal while the server was down", count(4))
	stop()
	s.looks = 0
	stop = s.runs(t, opens(t, "cert_renew", options).source)
	s.until(t, "another look", func() bool { return s.looks > 0 })
	stop()
	want := []string{
		`cert_renew info certificate/caddy.example true false "caddy" ["caddy.example","www.caddy.example"]`,
		`cert_renew info certificate/lego.example true false "lego" ["lego.example","www.lego.example"]`,
		`cert_renew info certificate/new.example true false "certbot" ["new.example","www.new.example"]`,
		`cert_renew info certificate/old.example true true "certbot" ["old.example","www.old.example"]`,
	}
	if diff := cmp.Diff(want, sorted(t, s.events, "ok", "renewed", "client", "domains")); diff != "" {
		t.Error(diff)
	}
}

const certbotFailure = `2026-11-21 20:35:44,834:DEBUG:certbot._internal.main:certbot version: 2.1.0
2026-11-21 20:35:44,834:DEBUG:certbot._internal.main:Arguments: ['-n', '--standalone', '-d', 'fail.example', '-d', 'www.fail.example']
2026-11-21 20:35:44,917:DEBUG:certbot._internal.display.obj:Notifying user: Requesting a certificate for fail.example and www.fail.example
2026-11-21 20:35:45,937:DEBUG:certbot._internal.display.obj:Notifying user: 
Certbot failed to authenticate some domains (authenticator: standalone). The Certificate Authority reported these problems:
  Domain: fail.example
  Type:   connection
  Detail: Get "http://fail.example": connection refused

2026-11-21 20:35:46,432:DEBUG:certbot._internal.log:Exiting abnormally:
Traceback (most recent call last):
certbot.errors.AuthorizationError: Some challenges have failed.
2026-11-21 20:35:46,433:ERROR:certbot._internal.log:Some challenges have failed.
`

const certbotRenewal = `2026-11-21 20:36:06,935:DEBUG:certbot._internal.main:certbot version: 2.1.0
2026-11-21 20:36:06,936:DEBUG:certbot._internal.main:Arguments: ['-n', '--force-renewal']
2026-11-21 20:36:06,961:DEBUG:certbot._internal.display.obj:Notifying user: Processing /etc/letsencrypt/renewal/one.example.conf
2026-11-21 20:36:07,024:DEBUG:certbot._internal.display.obj:Notifying user: Renewing an existing certificate for one.example and www.one.example
  Domain: www.one.example
  Type:   dns
  Detail: no such name
2026-11-21 20:36:08,539:ERROR:certbot._internal.renewal:Failed to renew certificate one.example with error: Some challenges have failed.
2026-11-21 20:36:08,600:DEBUG:certbot._internal.display.obj:Notifying user: Processing /etc/letsencrypt/renewal/two.example.conf
2026-11-21 20:36:08,700:DEBUG:certbot._internal.display.obj:Notifying user: Renewing an existing certificate for two.example
2026-11-21 20:36:08,900:WARNING:certbot.renewal:Attempting to renew cert (two.example) from /etc/letsencrypt/renewal/two.example.conf produced an unexpected error: too many certificates. Skipping.
2026-11-21 20:36:09,540:ERROR:certbot._internal.renewal:All renewals failed. The following certificates could not be renewed:
2026-11-21 20:36:09,540:ERROR:certbot._internal.log:2 renew failure(s), 0 parse failure(s)
`

// failures are what is read of a log, cut at every line and read in one go, as if
// the server was started anew in between.
func failures(t *testing.T, log acmeLog, text string) (all []string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if run, ok := log.(*certbotRun); ok {
			raw, err := json.Marshal(run)
			if err != nil {
				t.Fatal(err)
			}
			again := &certbotRun{}
			if err := json.Unmarshal(raw, again); err != nil {
				t.Fatal(err)
			}
			log = again
		}
		for _, f := range log.line(strings.TrimSuffix(line, "\n")) {
			all = append(all, fmt.Sprintf("%s %v: %s", f.domain, f.domains, f.reason))
		}
	}
	return all
}

func TestAcmeLogs(t *testing.T) {
	tests := []struct {
		name string
		log  acmeLog
		text string
		want []string
	}{
		{"one certificate", &certbotRun{}, certbotFailure, []string{"fail.example [fail.example www.fail.example]: Some challenges have failed.\nfail.example: connection: Get \"http://fail.example\": connection refused"}},
		{"renewal of all", &certbotRun{}, certbotRenewal, []string{"one.example []: Some challenges have failed.\nwww.one.example: dns: no such name", "two.example []: too many certificates"}},
		{"garbage", &certbotRun{}, "\x00\xff\n2026-99-99 20:36:06,935:ERROR:certbot._internal.log:x\n2026-11-21 20:36:06,935:ERROR:certbot._internal.log:no names at all\n", nil},
		{"lego", legoLog{}, "2026/11/21 20:35:52 [INFO] [ok.example] acme: error is no error\n2026/11/21 20:35:52 Could not obtain certificates:\n\terror: one or more domains had a problem:\n" +
			"[fail.example] acme: error: 400 :: urn:ietf:params:acme:error:connection :: refused\n", []string{"fail.example []: acme: error: 400 :: urn:ietf:params:acme:error:connection :: refused"}},
		{"caddy", caddyLog{}, `{"level":"error","ts":1795293368.6671834,"logger":"tls.obtain","msg":"could not get certificate from issuer","identifier":"fail.example","issuer":"x","error":"HTTP 400"}
{"level":"error","ts":1795293368.6672337,"logger":"tls.obtain","msg":"will retry","error":"[fail.example] Obtain: [fail.example] creating new order: HTTP 400","attempt":1,"retrying_in":60}
{"level":"error","ts":"tls.
{"level":"info","logger":"http.log.access","msg":"\"tls.obtain\" will retry"}
`, []string{"fail.example []: Obtain: [fail.example] creating new order: HTTP 400"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, failures(t, tt.log, tt.text)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// A failure is told with what is known of the certificate; a renewal that fails ten
// thousand times is told once, and counted.
func TestAcmeFailures(t *testing.T) {
	t.Parallel()
	dir, options := acmeFolders(t)
	issue(t, filepath.Join(dir, "le/live/one.example/cert.pem"), "one.example", 9)
	s := newStage()
	one := opens(t, "cert_renew", options).source.(*acme)
	stop := s.runs(t, one)
	s.until(t, "the first look, and a place in each log", func() bool { return s.status == Running && len(s.stored) >= 4 })
	appendTo(t, filepath.Join(dir, "log/letsencrypt.log"), certbotRenewal)
	s.until(t, "both failures", func() bool { return len(s.events) == 2 })
	const line = `{"level":"error","ts":1795293368.66,"logger":"tls.renew","msg":"will retry","error":"[c.example] Renew: no"}` + "\n"
	appendTo(t, filepath.Join(dir, "log/caddy.log"), strings.Repeat(line, 10000))
	s.until(t, "Caddy's failure", func() bool { return len(s.events) == 3 })
	all := fmt.Sprintf(`\"offset\":%d,`, 10000*len(line))
	s.until(t, "all are read", func() bool { return strings.Contains(s.stored["log.caddy"], all) })
	stop()
	if err := one.again.flush(t.Context(), &s.Env, time.Now().Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`cert_renew error certificate/c.example false "caddy" "c.example" null "Renew: no" 9998`,
		`cert_renew error certificate/c.example false "caddy" "c.example" null "Renew: no" null`,
		`cert_renew error certificate/one.example false "certbot" "one.example" "` + dir + `/le/live/one.example/cert.pem" "Some challenges have failed.\nwww.one.example: dns: no such name" null`,
		`cert_renew error certificate/two.example false "certbot" "two.example" null "too many certificates" null`,
	}
	events := s.take(t)
	if diff := cmp.Diff(want, sorted(t, events, "ok", "client", "domain", "path", "error", "folded")); diff != "" {
		t.Error(diff)
	}
	if at := time.Date(2026, 11, 21, 20, 36, 8, 539e6, time.Local); !events[0].Time.Equal(at) {
		t.Errorf("time %s, want %s", events[0].Time, at)
	}
}

// Nothing to watch is said, with what to do; half a certificate is none yet; and
// an event that could not be recorded is told at the next look.
func TestAcmeAbsent(t *testing.T) {
	dir, options := acmeFolders(t)
	s := newStage()
	a := opens(t, "cert_renew", options).source.(*acme)
	look := func() {
		t.Helper()
		if err := a.look(t.Context(), &s.Env); err != nil {
			t.Fatal(err)
		}
		a.report(&s.Env)
	}
	look()
	if s.status != Idle || !strings.Contains(s.lacks, "sources.cert_renew") {
		t.Errorf("%s %q", s.status, s.lacks)
	}
	path := filepath.Join(dir, "lego/certificates/x.example.crt")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("-----BEGIN CERTIFICATE-----\nMIIB"), 0o600); err != nil {
		t.Fatal(err)
	}
	look()
	issue(t, path, "x.example", 90)
	s.fail = event.Unavailablef("disk full")
	if err := a.look(t.Context(), &s.Env); err == nil {
		t.Error("an event that was not recorded is forgotten")
	}
	s.fail = nil
	look()
	look()
	if events := s.take(t); len(events) != 1 || s.status != Running {
		t.Errorf("%d events, %s", len(events), s.status)
	}
	old := map[string]lineage{path: {NotAfter: time.Now().AddDate(-1, 0, 0)}, "/gone": {NotAfter: time.Now().AddDate(-1, 0, 0)}, "/gone now": {NotAfter: time.Now()}}
	if !forget(old, time.Now()) || len(old) != 2 {
		t.Errorf("%v is remembered", old)
	}
	if got := domains(&x509.Certificate{DNSNames: []string{"a", "b"}}); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
