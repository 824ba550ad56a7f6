//go:build screenshots

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestScreenshots makes the pictures of the documentation (make screenshots) from
// events of a real run: commands that really ran and failed, sign-ins, changes of
// settings, and a disk that is really as full as it says.
func TestScreenshots(t *testing.T) {
	s := start(t, "public_url: http://tocsin.example", "sources:", "  disk_full:", "    high: 1", "    low: 0.5", "    interval: 1s")
	work := filepath.Join(t.TempDir(), "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		script := "exit 0"
		switch {
		case i%9 == 4:
			script = "echo 'repository is locked by another process' >&2; exit 11"
		case i%5 == 2:
			script = "ls /srv/missing"
		}
		kind, name := "backup", []string{"nightly", "database", "mailboxes"}[i%3]
		if i%4 == 3 {
			kind, name = "cron", "logrotate"
		}
		if out, errOut, code := s.cli("run", "--name", name, "--kind", kind, "--", "sh", "-c", script); code > 125 {
			t.Fatalf("run: %d %s %s", code, out, errOut)
		}
	}
	for range 2 {
		s.signIn("admin", "wrong")
	}
	for _, name := range []string{"backup of web-17", "prometheus", "ci"} {
		s.newToken(name, "emit")
	}
	s.request(http.MethodDelete, "/v1/events/1", nil)
	s.must("emit", "deployment_finished", "service=shop", "version=4.2.1", "--severity", "notice", "--subject", "service/shop")
	for _, door := range []string{"rack 4", "rack 7"} {
		s.must("emit", "door_opened", "door="+door, "--subject", "door/"+door)
	}
	s.post("/v1/transports", jsonMedia, `{"name":"Operations","mode":"webhook","settings":{"url":"https://hooks.example.com/tocsin"}}`).want(t, http.StatusCreated)
	s.post("/v1/rules", jsonMedia, `{"name":"Failing backups","types":["backup_failed"],"threshold":{"count":2,"within":"1h","group_by":["data.name"]},
		"transports":["1","2"],"recipients":{"access_levels":["admin"]},"quiet_hours":{"from":"22:00","to":"07:00","timezone":"Europe/Berlin","except":"critical"}}`).want(t, http.StatusCreated)
	cmd := exec.Command(tool(t, "node"), "testdata/screenshots.cjs")
	cmd.Env = append(environ(), "NODE_PATH="+cached(t, "npm", "node_modules"), "URL="+s.url, "PASSWORD="+password, "CHROMIUM="+tool(t, "chromium"), "SEQUENCE="+text(s.find("filter", `type == "backup_succeeded"`, "limit", "1").Events[0]["sequence"]), "OUT="+filepath.Join(root, "docs", "screenshots"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("%w\n%s", err, out))
	}
}
