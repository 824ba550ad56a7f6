package transport

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// realAlertmanager runs Debian's Alertmanager and returns its address.
func realAlertmanager(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		need(t, "prometheus-alertmanager")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "alertmanager.yml")
	if err := os.WriteFile(conf, []byte("route: {receiver: none}\nreceivers: [{name: none}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + freePort(t, "tcp")
	var said bytes.Buffer
	cmd := exec.Command(program, "--config.file="+conf, "--storage.path="+dir, "--web.listen-address="+address, "--cluster.listen-address=", "--log.level=warn")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("alertmanager: %s", said.String())
		}
	})
	eventually(t, "Alertmanager is ready", func() bool {
		res, err := http.Get("http://" + address + "/-/ready")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return "http://" + address
}

type gotAlert struct {
	Labels, Annotations  map[string]string
	StartsAt, EndsAt     time.Time
	GeneratorURL, Status any
}

func alerts(t *testing.T, base string) []gotAlert {
	t.Helper()
	res, err := http.Get(base + "/api/v2/alerts")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var all []gotAlert
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return all
}

// A real Alertmanager takes an alert, takes it again as the same, and ends it.
func TestRealAlertmanager(t *testing.T) {
	base := realAlertmanager(t)
	env, m := newEnv(t), newMessage(t)
	tr := open(t, env, "alertmanager", object{"url": base + "/", "labels": object{"team": "ops"}, "expires": "1h"})
	m.Event.Time = time.Now().Add(-time.Minute)
	for range 2 {
		if a, err := tr.Send(t.Context(), m); err != nil || a.Status != 200 {
			t.Fatal(a, err)
		}
	}
	other := newMessage(t)
	other.Event.Time, other.Event.Subject, other.Event.Host, other.Text = m.Event.Time, hostile, "\xff\x00", hostile
	if _, err := tr.Send(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both alerts are there", func() bool { return len(alerts(t, base)) == 2 })
	var got gotAlert
	for _, a := range alerts(t, base) {
		if a.Labels["subject"] == m.Event.Subject {
			got = a
		}
	}
	for name, value := range map[string]string{"alertname": "disk_full", "severity": "error", "instance": "web1", "team": "ops", "rule": "Disks", "kind": "host", "subject": "filesystem/var"} {
		if got.Labels[name] != value {
			t.Errorf("label %s is %q, want %q", name, got.Labels[name], value)
		}
	}
	if got.Annotations["description"] != m.Text || got.Annotations["tocsin_event_id"] != string(m.Event.ID) || got.GeneratorURL != m.Link || got.EndsAt.Before(time.Now().Add(50*time.Minute)) || got.StartsAt.Sub(m.Event.Time).Abs() > time.Second {
		t.Errorf("alert: %+v", got)
	}
	m.Resolved = true
	if _, err := tr.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the alert is over, the other goes on", func() bool {
		all := alerts(t, base)
		return len(all) == 1 && all[0].Labels["subject"] != "filesystem/var"
	})
	// What it refuses is final.
	if _, err := open(t, env, "alertmanager", object{"url": base + "/nowhere"}).Send(t.Context(), m); !errors.Is(err, event.ErrNotFound) {
		t.Errorf("a wrong path: %v", err)
	}
}

func TestAlertmanagerSignIn(t *testing.T) {
	s, env, m := newSink(t), newEnv(t), newMessage(t)
	for want, set := range map[string]object{
		"Basic dTpw": {"url": s.URL, "username": "u", "password": "p"}, "Bearer t": {"url": s.URL + "/api/v2/alerts", "token": "t"},
	} {
		if _, err := open(t, env, "alertmanager", set).Send(t.Context(), m); err != nil || s.header.Get("Authorization") != want || s.path != "/api/v2/alerts" {
			t.Errorf("%v: %v, %s %s", set, err, s.path, s.header)
		}
	}
	tr := open(t, env, "alertmanager", object{"url": s.URL}).(*alertmanager)
	m.Resolved = true
	now := m.Event.Time.Add(-time.Hour) // the producer's clock is ahead
	if a := tr.alert(m, now); a.EndsAt.Before(a.StartsAt) {
		t.Errorf("ends before it begins: %+v", a)
	}
}
