package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBrowser drives every page and its main action in real Chromium, light and
// dark, wide and narrow: axe finds nothing serious, the console stays quiet,
// nothing hostile runs, and a validator takes the HTML.
func TestBrowser(t *testing.T) { browse(t, start(t), "browser.cjs", 100, 15) }

// TestBrowserPeople does the same for the pages about people.
func TestBrowserPeople(t *testing.T) { browse(t, start(t), "browser_people.cjs", 80, 15) }

// TestBrowserWays lets people and programs in by other ways than a password, and
// looks at where events came from and at what changed, in real Chromium.
func TestBrowserWays(t *testing.T) {
	provider, oidc := startProvider(t)
	for range 2 { // signs in twice
		provider.QueueUser(someone("olga", "olga@example.org", "staff"))
	}
	city, _ := places(t)
	s := start(t, "public_url: http://tocsin.example", "trusted_proxies: [127.0.0.0/8]", "egress: {allow: [127.0.0.0/8]}", "geo: {city: "+city+"}", oidc)
	at := strings.TrimPrefix(s.url, "http://")
	browse(t, s, "browser_ways.cjs", 20, 4, "URL=http://tocsin.example", "API="+s.url, "HOSTS=MAP tocsin.example "+at)
}

// browse runs a script that prints its checks, of which there are at least so
// many, and keeps at least so many pages for the validator.
func browse(t *testing.T, s *server, script string, least, pages int, env ...string) {
	t.Helper()
	chromium := tool(t, "chromium")
	modules := cached(t, "npm", "node_modules")
	cached(t, "npm", "node_modules", "playwright-core")
	html := t.TempDir()
	cmd := exec.Command(tool(t, "node"), filepath.Join("testdata", script))
	cmd.Env = append(environ(), "NODE_PATH="+modules, "URL="+s.url, "TOKEN="+s.token, "PASSWORD="+password, "CHROMIUM="+chromium, "HTML="+html)
	cmd.Env = append(cmd.Env, env...)
	var failed bytes.Buffer
	cmd.Stderr = &failed
	out, err := cmd.Output()
	checks := 0
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		c := parse[struct{ Name, Problem string }](t, lines.Bytes())
		checks++
		t.Run(c.Name, func(t *testing.T) {
			if c.Problem != "" {
				t.Error(c.Problem)
			}
		})
	}
	if err != nil || checks < least {
		t.Errorf("%d checks: %v\n%s", checks, err, &failed)
	}
	t.Run("valid HTML", func(t *testing.T) { validHTML(t, html, pages) })
}

// validHTML runs the Nu HTML checker over a folder.
func validHTML(t *testing.T, dir string, least int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.html"))
	if err != nil || len(files) < least {
		t.Fatalf("%d pages were kept: %v", len(files), err)
	}
	jar := cached(t, "npm", "node_modules", "vnu-jar", "build", "dist", "vnu.jar")
	out, err := exec.Command(tool(t, "java"), append([]string{"-Xss4m", "-jar", jar, "--exit-zero-always", "--stdout", "--format", "json"}, files...)...).Output()
	if err != nil {
		t.Fatalf("vnu: %v %s", err, clip(out))
	}
	var found struct {
		Messages []struct {
			Type, URL, Message, Extract string
			LastLine                    int
		}
	}
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("vnu: %v in %s", err, clip(out))
	}
	for _, m := range found.Messages {
		if m.Type == "error" && !ofHTMX(m.Message) {
			t.Errorf("%s line %d: %s: %s", filepath.Base(m.URL), m.LastLine, m.Message, strings.TrimSpace(m.Extract))
		}
	}
}

// ofHTMX is true for what the checker says of attributes that are htmx's: the
// specification leaves names with a dash to nobody, and htmx uses hx-.
func ofHTMX(message string) bool { return strings.Contains(message, "Attribute “hx-") }
