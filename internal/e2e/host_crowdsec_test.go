package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// crowdsec is a real agent with its local API, which reads a log of its own.
type crowdsec struct {
	t              *testing.T
	dir, api, auth string
	config         string
}

func newCrowdsec(t *testing.T) *crowdsec {
	t.Helper()
	tool(t, "crowdsec")
	tool(t, "cscli")
	c := &crowdsec{t: t, dir: t.TempDir(), api: freeAddress(t)}
	c.auth = filepath.Join(c.dir, "auth.log")
	shell(t, nil, "sh", "-c", `set -e; mkdir "$1/data" "$1/etc"
		for d in parsers scenarios collections patterns simulation.yaml profiles.yaml; do cp -a /etc/crowdsec/$d "$1/etc/"; done
		mkdir "$1/etc/notifications"; cp /var/lib/crowdsec/data/*.txt "$1/data/"; : >"$1/auth.log"`, "sh", c.dir)
	raw, err := os.ReadFile(filepath.Join("testdata", "crowdsec", "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c.config = writeFile(t, c.dir, "config.yaml", strings.NewReplacer("@DIR@", c.dir, "@LAPI@", c.api).Replace(string(raw)))
	writeFile(t, filepath.Join(c.dir, "etc"), "acquis.yaml", "filenames: ["+c.auth+"]\nlabels: {type: syslog}\n")
	writeFile(t, filepath.Join(c.dir, "etc"), "lapi.yaml", "")
	c.cscli("machines", "add", "agent", "--password", "pw", "-f", filepath.Join(c.dir, "etc", "lapi.yaml"), "-u", "http://"+c.api+"/", "--force")
	return c
}

func (c *crowdsec) cscli(args ...string) string {
	c.t.Helper()
	return shell(c.t, nil, append([]string{"cscli", "-c", c.config}, args...)...)
}

// start runs agent and API, and returns how to end them.
func (c *crowdsec) start() (stop func()) {
	c.t.Helper()
	var said buffer
	cmd := exec.Command("crowdsec", "-c", c.config)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	c.t.Cleanup(func() {
		stop()
		if c.t.Failed() {
			c.t.Logf("crowdsec: %s", said.String())
		}
	})
	eventually(c.t, "the local API", func() bool {
		resp, err := client.Get("http://" + c.api + "/v1/decisions/stream")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusForbidden
	})
	return stop
}

// attack writes what sshd does when somebody tries passwords, from n addresses.
func (c *crowdsec) attack(network string, n int) {
	c.t.Helper()
	var b strings.Builder
	at := time.Now().Format("Jan _2 15:04:05")
	for host := range n {
		for try := range 8 {
			fmt.Fprintf(&b, "%s web sshd[%d]: Failed password for invalid user admin from %s.%d port %d ssh2\n", at, 1000+host, network, host+1, 40000+try)
		}
	}
	f, err := os.OpenFile(c.auth, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(b.String()); err != nil {
		c.t.Fatal(err)
	}
}

// A real CrowdSec bans sixty addresses that try passwords: one event, with the
// commonest scenarios and addresses. Its absence, a wrong key and its restart are said,
// and survived; a restart of the server tells nothing again.
func TestHostCrowdsec(t *testing.T) {
	t.Parallel()
	c := newCrowdsec(t)
	key := filepath.Join(t.TempDir(), "key")
	config := "sources: {crowdsec_spike: {url: 'http://" + c.api + "', key_file: " + key + ", interval: 1s}}"
	s := start(t, config)
	spikes := func() []object { return s.find("filter", `type == "crowdsec_spike"`).Events }
	state := func(status, lacks string) {
		t.Helper()
		eventually(t, status+" "+lacks, func() bool {
			row := s.source("crowdsec_spike")
			return row["status"] == status && strings.Contains(text(row["lacks"]), lacks)
		})
	}
	state("unavailable", "cscli bouncers add tocsin")
	writeFile(t, filepath.Dir(key), "key", "wrong\n")
	state("unavailable", "start CrowdSec")
	stop := c.start()
	state("unavailable", "refuses the key")
	c.cscli("decisions", "add", "--ip", "198.51.100.1", "--duration", "1h") // before anybody watched
	secret := strings.TrimSpace(c.cscli("bouncers", "add", "tocsin", "-o", "raw"))
	writeFile(t, filepath.Dir(key), "key", secret+"\n")
	state("running", "")
	c.attack("192.0.2", 60)
	eventually(t, "the spike", func() bool { return len(spikes()) > 0 })
	e := spikes()[0]
	data := e["data"].(object)
	if n := number(t, data["decisions"]); n < 51 || n > 60 || number(t, data["threshold"]) != 50 || data["window"] != "5m" || e["severitytext"] != "warn" || e["kind"] != "host" || text(e["host"]) == "" || e["subject"] != "host/"+text(e["host"]) {
		t.Errorf("%v", e)
	}
	scenarios, addresses := data["top_scenarios"].([]any), data["top_addresses"].([]any)
	if dig(scenarios[0], "name") != "crowdsecurity/ssh-bf" || number(t, dig(scenarios[0], "count")) < 50 {
		t.Errorf("scenarios %v", scenarios)
	}
	if len(addresses) != 10 || !strings.HasPrefix(text(dig(addresses[0], "address")), "192.0.2.") || number(t, dig(addresses[0], "count")) < 1 {
		t.Errorf("addresses %v", addresses)
	}
	stop()
	state("unavailable", "start CrowdSec")
	stop = c.start()
	state("running", "")
	s.stop()
	s = startOn(t, s.data, config)
	c.attack("203.0.113", 60) // the same spike
	bans := func() int {
		return strings.Count(c.cscli("decisions", "list", "-o", "raw", "--limit", "0"), "203.0.113.")
	}
	eventually(t, "the bans", func() bool { return bans() >= 60 })
	state("running", "")
	if n := len(spikes()); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
	searchFolder(t, s.data, secret)
	stop()
}
