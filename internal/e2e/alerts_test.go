package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// daemon runs a program of Debian until the test ends, and waits until an address
// answers.
func daemon(t *testing.T, ready, name string, args ...string) {
	t.Helper()
	var said buffer
	cmd := exec.Command(tool(t, name), args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &said, &said, t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", name, said.String())
		}
	})
	eventually(t, name+" is ready", func() bool {
		res, err := client.Get(ready)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// freeAddress is an address of this machine on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// alertmanagerWith runs Debian's Alertmanager with a configuration.
func alertmanagerWith(t *testing.T, config string) (base string) {
	t.Helper()
	dir, address := t.TempDir(), freeAddress(t)
	daemon(t, "http://"+address+"/-/ready", "prometheus-alertmanager", "--config.file="+writeFile(t, dir, "alertmanager.yml", config),
		"--storage.path="+dir, "--web.listen-address="+address, "--cluster.listen-address=", "--log.level=warn")
	return "http://" + address
}

// gotAlert is an alert as both show it, without what must differ.
type gotAlert struct {
	Annotations  map[string]string `json:"annotations"`
	EndsAt       string            `json:"endsAt"`
	Fingerprint  string            `json:"fingerprint"`
	StartsAt     string            `json:"startsAt"`
	GeneratorURL string            `json:"generatorURL"`
	Labels       map[string]string `json:"labels"`
	Status       struct {
		InhibitedBy, SilencedBy []string
		State                   string
	} `json:"status"`
}

// both asks two servers the same.
func both(t *testing.T, bases, tokens [2]string, method, path, body string) (replies [2]reply) {
	t.Helper()
	for n, base := range bases {
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body != "" {
			req.Header.Set("Content-Type", jsonMedia)
		}
		if tokens[n] != "" {
			req.Header.Set("Authorization", "Bearer "+tokens[n])
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		replies[n] = reply{res.StatusCode, res.Header, raw}
	}
	return replies
}

// A real Alertmanager and this server are sent the same, and answer the same:
// alerts with their fingerprints, filters, and errors.
func TestAlertsLikeAlertmanager(t *testing.T) {
	t.Parallel()
	s := start(t)
	bases := [2]string{alertmanagerWith(t, "route: {receiver: tocsin}\nreceivers: [{name: tocsin}]\n"), s.url}
	tokens := [2]string{"", s.newToken("prometheus", "emit")}
	now := time.Now().UTC().Truncate(time.Second)
	at := func(minutes int) string { return now.Add(time.Duration(minutes) * time.Minute).Format(time.RFC3339) }
	posts := []string{
		`[{"labels":{"alertname":"Disk","severity":"critical","instance":"web-1:9100"},"annotations":{"summary":"full"},"startsAt":"` + at(-9) + `","endsAt":"` + at(9) + `","generatorURL":"http://p/graph?g0=1"}]`,
		`[{"labels":{"alertname":"Disk","severity":"critical","instance":"web-1:9100"},"annotations":{"summary":"fuller"},"startsAt":"` + at(-5) + `","endsAt":"` + at(8) + `"}]`,
		`[{"labels":{"alertname":"Net","q":"a\"b\\c\n","empty":""},"endsAt":"` + at(5) + `"},{"labels":{"alertname":"Über","ü":"x"},"endsAt":"` + at(5) + `"}]`,
		`[{"labels":{"alertname":"Gone"},"startsAt":"` + at(-5) + `","endsAt":"` + at(5) + `"},{"labels":{"alertname":"Was"},"startsAt":"` + at(-5) + `","endsAt":"` + at(-1) + `"}]`,
		`[{"labels":{"alertname":"Gone"},"startsAt":"` + at(-5) + `","endsAt":"` + at(-1) + `"}]`,
		`[]`,
		`[{"labels":{}},{"labels":{"alertname":"Valid beside it"},"startsAt":"` + at(-5) + `","endsAt":"` + at(5) + `"}]`,
		`[{"labels":{"alertname":"x"},"startsAt":"` + at(5) + `","endsAt":"` + at(1) + `"}]`,
		`[{}]`, `{}`, `[`, `"x"`, `null`, `[{"labels":{"a":1}}]`, `[{"labels":{"a":"b"},"startsAt":"yesterday"}]`,
	}
	for _, body := range posts {
		r := both(t, bases, tokens, http.MethodPost, "/api/v2/alerts", body)
		if r[0].status != r[1].status {
			if strings.Contains(body, "Über") { // Alertmanager 0.25 refuses the label, newer ones take it
				continue
			}
			t.Errorf("%s: Alertmanager answers %d %s, this server %d %s", body, r[0].status, r[0].body, r[1].status, r[1].body)
		}
		if media := r[0].header.Get("Content-Type"); media != r[1].header.Get("Content-Type") {
			t.Errorf("%s: Content-Type %q and %q", body, media, r[1].header.Get("Content-Type"))
		}
		var as [2]any
		for n := range r {
			_ = json.Unmarshal(r[n].body, &as[n]) // an empty body is nil
		}
		if fmt.Sprintf("%T", as[0]) != fmt.Sprintf("%T", as[1]) {
			t.Errorf("%s: %s and %s", body, r[0].body, r[1].body)
		}
	}
	for _, q := range []string{
		"", "active=true&silenced=false&inhibited=false&unprocessed=true", "active=false", "active=maybe", "receiver=tocsin", "receiver=toc", "receiver=toc.*", "receiver=(", "unknown=1",
		`filter=alertname="Disk"`, `filter=alertname=Disk&filter=severity!="critical"`, `filter=alertname=~"D.*"`, `filter=alertname=~"D"`, `filter=instance!~"web.*"`, `filter=missing=""`, `filter=q="a\"b\\c\n"`,
		`filter=x`, `filter=a=~"("`, `filter=a="b`,
	} {
		var escaped []string
		for part := range strings.SplitSeq(q, "&") {
			name, value, found := strings.Cut(part, "=")
			if found {
				escaped = append(escaped, name+"="+url.QueryEscape(value))
			}
		}
		r := both(t, bases, tokens, http.MethodGet, "/api/v2/alerts?"+strings.Join(escaped, "&"), "")
		if r[0].status != r[1].status {
			t.Errorf("%s: %d %s and %d %s", q, r[0].status, r[0].body, r[1].status, r[1].body)
			continue
		}
		if r[0].status != http.StatusOK {
			continue
		}
		var got [2][]gotAlert
		for n := range r {
			for _, a := range parse[[]gotAlert](t, r[n].body) {
				if a.Labels["alertname"] != "Über" {
					if a.StartsAt > at(0) || a.Labels["alertname"] == "Net" {
						a.StartsAt = "" // when it was sent
					}
					got[n] = append(got[n], a)
				}
			}
		}
		if diff := cmp.Diff(got[0], got[1]); diff != "" {
			t.Errorf("%s: %s", q, diff)
		}
	}
	r := both(t, bases, tokens, http.MethodGet, "/api/v2/status", "")
	if diff := cmp.Diff(shape(parse[any](t, r[0].body)), shape(parse[any](t, r[1].body))); diff != "" {
		t.Errorf("status: %s", diff)
	}
}

// shape is JSON with every text and number replaced by its type.
func shape(v any) any {
	switch v := v.(type) {
	case object:
		out := object{}
		for name, one := range v {
			out[name] = shape(one)
		}
		return out
	case []any:
		return []any{}
	}
	return fmt.Sprintf("%T", v)
}

// amtool, Alertmanager's own client, adds and finds alerts here.
func TestAmtool(t *testing.T) {
	t.Parallel()
	s := start(t)
	emitter := s.newToken("amtool", "emit")
	dir := t.TempDir()
	config := writeFile(t, dir, "http.yml", "basic_auth: {username: any, password: "+emitter+"}\n")
	amtool := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), tool(t, "amtool"), append([]string{"--alertmanager.url=" + s.url, "--http.config.file=" + config}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("amtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	amtool("alert", "add", "DiskFull", "severity=warning", "instance=web-1:9100", `--annotation=summary=almost full`)
	amtool("alert", "add", "Latency", "severity=critical", "--end="+time.Now().Add(time.Hour).Format(time.RFC3339))
	if out := amtool("alert", "query"); !strings.Contains(out, "DiskFull") || !strings.Contains(out, "Latency") || !strings.Contains(out, "almost full") || !strings.Contains(out, "active") {
		t.Errorf("query:\n%s", out)
	}
	if out := amtool("-o", "extended", "alert", "query", "severity=~crit.*"); strings.Contains(out, "DiskFull") || !strings.Contains(out, "Latency") {
		t.Errorf("query with a matcher:\n%s", out)
	}
	if out := amtool("config", "show"); !strings.Contains(out, "tocsin") {
		t.Errorf("config show:\n%s", out)
	}
	e := s.one(`type == "alert" && data.name == "DiskFull"`)
	if e["severitytext"] != "warn" || e["authname"] != "amtool" || e["authtype"] != "api_key" || e["host"] != "web-1" || e["kind"] != "custom" || dig(e, "data.annotations.summary") != "almost full" {
		t.Errorf("%v", e)
	}
	s.request(http.MethodGet, "/api/v2/alerts", nil, "Authorization", "").wantProblem(t, http.StatusUnauthorized)
	forwarder := s.newToken("forwarder", "forward")
	s.request(http.MethodGet, "/api/v2/alerts", nil, "Authorization", "Bearer "+forwarder).wantProblem(t, http.StatusForbidden)
	reader := s.newToken("reader", "read")
	s.request(http.MethodPost, "/api/v2/alerts", strings.NewReader("[]"), "Content-Type", jsonMedia, "Authorization", "Bearer "+reader).wantProblem(t, http.StatusForbidden)
	s.post("/api/v2/alerts", "text/plain", "[]").wantProblem(t, http.StatusUnsupportedMediaType)
}

// A stock Prometheus fires an alert, sends it again and again, and ends it: two
// events. In between the server is killed and comes back, and knows what fires.
func TestRealPrometheus(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := startOn(t, data)
	emitter := s.newToken("prometheus", "emit")
	var current atomic.Pointer[server]
	current.Store(s)

	var full atomic.Bool
	var posts atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		value := 10
		if full.Load() {
			value = 97
		}
		fmt.Fprintf(w, "disk_used_percent{path=\"/var\"} %d\n", value)
	}))
	defer target.Close()
	counting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // a reverse proxy that counts
		body, _ := io.ReadAll(r.Body)
		req, err := http.NewRequestWithContext(r.Context(), r.Method, current.Load().url+r.URL.Path, bytes.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header = r.Header.Clone()
		res, err := client.Do(req)
		if err != nil { // the server is being killed
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		if res.StatusCode == http.StatusOK {
			posts.Add(1)
		}
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}))
	defer counting.Close()

	dir, address := t.TempDir(), freeAddress(t)
	writeFile(t, dir, "rules.yml", `groups: [{name: disks, interval: 1s, rules: [{alert: DiskFull, expr: "disk_used_percent > 90",
  labels: {severity: critical, team: ops}, annotations: {summary: "{{ $labels.path }} is {{ $value }} % full"}}]}]`)
	writeFile(t, dir, "token", emitter)
	file := writeFile(t, dir, "prometheus.yml", `global: {scrape_interval: 1s, evaluation_interval: 1s, external_labels: {site: fra}}
rule_files: [rules.yml]
scrape_configs: [{job_name: disks, static_configs: [{targets: ["`+strings.TrimPrefix(target.URL, "http://")+`"]}]}]
alerting: {alertmanagers: [{authorization: {credentials_file: token}, static_configs: [{targets: ["`+strings.TrimPrefix(counting.URL, "http://")+`"]}]}]}
`)
	daemon(t, "http://"+address+"/-/ready", "prometheus", "--config.file="+file, "--storage.tsdb.path="+dir+"/tsdb", "--web.listen-address="+address, "--rules.alert.resend-delay=1s", "--log.level=warn")

	full.Store(true)
	eventually(t, "the alert is recorded", func() bool { return len(s.find("filter", `type == "alert"`).Events) == 1 })
	fired := s.one(`type == "alert"`)
	if fired["severitytext"] != "critical" || fired["authname"] != "prometheus" || !strings.HasSuffix(text(fired["source"]), "/prometheus") || dig(fired, "data.labels.site") != "fra" ||
		dig(fired, "data.labels.team") != "ops" || dig(fired, "data.summary") != "/var is 97 % full" || !strings.Contains(text(dig(fired, "data.generator_url")), "/graph") || fired["host"] != "127.0.0.1" {
		t.Errorf("%v", fired)
	}
	firing := func(s *server) []gotAlert { return parse[[]gotAlert](t, s.get("/api/v2/alerts").body) }
	if all := firing(s); len(all) != 1 || all[0].Labels["alertname"] != "DiskFull" || "alert/"+all[0].Fingerprint != fired["subject"] {
		t.Errorf("%v", all)
	}
	sent := posts.Load()
	eventually(t, "it is sent again", func() bool { return posts.Load() >= sent+3 })

	s.kill()
	s2 := startOn(t, data)
	current.Store(s2)
	if all := firing(s2); len(all) != 1 {
		t.Errorf("behind a restart these fire: %v", all)
	}
	sent = posts.Load()
	eventually(t, "it is sent again to the new process", func() bool { return posts.Load() >= sent+3 })
	full.Store(false)
	eventually(t, "the end is recorded", func() bool { return len(s2.find("filter", `type == "alert_resolved"`).Events) == 1 })
	sent = posts.Load()
	eventually(t, "the end is sent again", func() bool { return posts.Load() >= sent+2 })

	over := s2.one(`type == "alert_resolved"`)
	s2.one(`type == "alert"`)
	if over["correlationid"] != fired["correlationid"] || over["subject"] != fired["subject"] || dig(over, "data.ends_at") == nil || over["severitytext"] != "notice" {
		t.Errorf("%v", over)
	}
	if all := firing(s2); len(all) != 0 {
		t.Errorf("still firing: %v", all)
	}
	if row := s2.source("prometheus"); row["status"] != "running" || row["last_event"] == nil {
		t.Errorf("the source: %v", row)
	}
}

// An alert that nobody sends again is over by itself, and one that is posted while
// the source is disabled is refused.
func TestAlertTimeout(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := startOn(t, data, "sources: {prometheus: {resolve_timeout: 1s}}")
	if r := s.post("/api/v2/alerts", jsonMedia, `[{"labels":{"alertname":"Short"}}]`); r.status != http.StatusOK || len(r.body) != 0 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	s.one(`type == "alert" && data.name == "Short"`)
	eventually(t, "it is over", func() bool { return len(s.find("filter", `type == "alert_resolved"`).Events) == 1 })
	if e := s.one(`type == "alert_resolved"`); e["authtype"] != "system" || dig(e, "data.name") != "Short" {
		t.Errorf("%v", e)
	}
	if err := os.WriteFile(filepath.Join(data, "test.yaml"), []byte("sources: {prometheus: {enabled: false}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.post("/v1/reload", "", ""); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	s.post("/api/v2/alerts", jsonMedia, `[]`).wantProblem(t, http.StatusNotFound)
	s.get("/api/v2/alerts").wantProblem(t, http.StatusNotFound)
}

// A real Alertmanager tells by its webhook, again and again, and both begin and
// end are recorded once.
func TestRealAlertmanagerWebhook(t *testing.T) {
	t.Parallel()
	s := start(t, hookFiles(t))
	var calls atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		answer := s.hook("alertmanager", string(body), "Authorization", r.Header.Get("Authorization"))
		if answer.status != http.StatusAccepted {
			t.Errorf("%d %s for %s", answer.status, answer.body, body)
		}
		calls.Add(1)
		w.WriteHeader(answer.status)
	}))
	defer proxy.Close()
	dir := t.TempDir()
	base := alertmanagerWith(t, `route: {receiver: tocsin, group_by: [alertname], group_wait: 100ms, group_interval: 1s, repeat_interval: 1s}
receivers: [{name: tocsin, webhook_configs: [{url: "`+proxy.URL+`", send_resolved: true, http_config: {authorization: {credentials_file: `+writeFile(t, dir, "secret", hookSecret)+`}}}]}]
`)
	post := func(ends time.Time) {
		t.Helper()
		body := `[{"labels":{"alertname":"Disk","severity":"page","instance":"db-1"},"annotations":{"summary":"full"},"startsAt":"2026-11-21T10:00:00Z","endsAt":"` + ends.UTC().Format(time.RFC3339Nano) + `"}]`
		res, err := client.Post(base+"/api/v2/alerts", jsonMedia, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	post(time.Now().Add(time.Hour))
	eventually(t, "it is told three times", func() bool { return calls.Load() >= 3 })
	e := s.one(`type == "alert"`)
	if e["severitytext"] != "error" || e["host"] != "db-1" || !strings.HasSuffix(text(e["source"]), "/alertmanager") || dig(e, "data.receiver") != "tocsin" || dig(e, "data.external_url") == nil {
		t.Errorf("%v", e)
	}
	shown := both(t, [2]string{base, s.url}, [2]string{"", s.token}, http.MethodGet, "/api/v2/alerts", "")
	if all := parse[[]gotAlert](t, shown[0].body); len(all) != 1 || "alert/"+all[0].Fingerprint != e["subject"] {
		t.Errorf("fingerprint: %v and %v", all, e["subject"])
	}
	post(time.Now())
	eventually(t, "the end is told", func() bool { return len(s.find("filter", `type == "alert_resolved"`).Events) == 1 })
	var types []string
	for _, e := range s.find("filter", `source.endsWith("/alertmanager")`, "order", "asc").Events {
		types = append(types, text(e["type"]))
	}
	if !slices.Equal(types, []string{"alert", "alert_resolved"}) {
		t.Errorf("recorded: %v", types)
	}
}

// A rule that sends alerts to where they come from makes a chain that ends.
func TestAlertLoop(t *testing.T) {
	t.Parallel()
	s := start(t, "egress: {allow: [127.0.0.0/8]}")
	way := parse[object](t, s.post("/v1/transports", jsonMedia, `{"name":"back","mode":"alertmanager","settings":{"url":"`+s.url+`","token":"`+s.newToken("back", "emit")+`"}}`).body)
	if r := s.post("/v1/rules", jsonMedia, `{"name":"loop","enabled":true,"types":["alert"],"severity":"info","transports":["`+text(way["id"])+`"]}`); r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := s.post("/api/v2/alerts", jsonMedia, `[{"labels":{"alertname":"first"}}]`); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	alerts := func() int { return len(s.find("filter", `type == "alert"`, "limit", "1000").Events) }
	eventually(t, "the alert comes back", func() bool { return alerts() > 1 })
	before, since := 0, time.Now()
	eventually(t, "the chain ends", func() bool {
		if n := alerts(); n != before {
			before, since = n, time.Now()
		}
		return time.Since(since) > 3*time.Second
	})
	if before > 9 {
		t.Errorf("%d alerts were recorded", before)
	}
	deepest := s.find("filter", `type == "alert"`, "limit", "1").Events[0]
	if deepest["causationid"] == nil || deepest["causationdepth"] == nil {
		t.Errorf("%v", deepest)
	}
}
