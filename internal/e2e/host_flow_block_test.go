package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The template that blocks an address, as it is delivered, makes a real CrowdSec ban
// an address after ten failed logins, and lets another one be.
func TestHostFlowBlocks(t *testing.T) {
	t.Parallel()
	c := newCrowdsec(t)
	c.start()
	c.cscli("machines", "add", "tocsin", "--password", "hunter2hunter2", "-f", os.DevNull, "--force")
	document, err := os.ReadFile(filepath.Join("..", "flow", "templates", "block-address-crowdsec.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, "egress: {allow: [127.0.0.1/32]}")
	s.post("/v1/secrets", jsonMedia, `{"name":"crowdsec","value":{"username":"tocsin","password":"hunter2hunter2"}}`).want(t, http.StatusCreated)
	flow := s.post("/v1/flows", "application/yaml", strings.ReplaceAll(string(document), "127.0.0.1:8080", c.api)).want(t, http.StatusCreated)
	if flow["state"] != "valid" {
		t.Fatal(flow)
	}
	s.post("/v1/triggers", jsonMedia, `{"name":"block","kind":"event","flow":"`+text(flow["id"])+`","types":["com.example.login.failed"],
		"filter":"clientip != \"\" && !inCIDR(clientip, \"10.0.0.0/8\")","throttle":{"accumulate":{"count":10,"within":"10m"},"group_by":["clientip"]}}`).want(t, http.StatusCreated)
	for _, from := range []struct {
		address string
		times   int
	}{{"198.51.100.7", 10}, {"198.51.100.8", 9}, {"10.1.2.3", 10}} {
		for n := range from.times {
			s.emit(eventMedia, fmt.Sprintf(`{"specversion":"1.0","id":"%s-%d","source":"/sshd","type":"com.example.login.failed","time":%q,"clientip":%q}`,
				from.address, n, time.Now().UTC().Format(time.RFC3339), from.address))
		}
	}
	eventually(t, "the result of the run", func() bool {
		return len(s.find("filter", `type.startsWith("trigger.event.") && !type.endsWith("sync")`).Events) > 0
	})
	result := s.one(`type.startsWith("trigger.event.") && !type.endsWith("sync")`)
	if data := result["data"].(object); result["type"] != "trigger.event.ok" || data["status"] != "banned" || data["status_msg"] != "198.51.100.7 for 4h" {
		t.Errorf("the run ends with %v", data)
	}
	banned := c.cscli("decisions", "list", "-o", "raw")
	if !strings.Contains(banned, "Ip:198.51.100.7") || strings.Count(banned, "Ip:") != 1 || !strings.Contains(banned, "tocsin/failed-logins") {
		t.Errorf("CrowdSec has\n%s", banned)
	}
	if runs := s.get("/v1/runs"); strings.Contains(string(runs.body), "hunter2hunter2") {
		t.Errorf("the runs tell the password: %s", clip(runs.body))
	}
}
