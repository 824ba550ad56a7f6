package source

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

type licenceBench struct {
	t    *testing.T
	key  ed25519.PrivateKey
	path string
	told []string
	env  *Env
}

func newLicenceBench(t *testing.T) *licenceBench {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &licenceBench{t: t, key: key, path: filepath.Join(t.TempDir(), "licence")}
	b.env = &Env{
		Host: "web-17", Base: "http://t", Log: slog.New(slog.DiscardHandler), Memory: remembered{}, Status: func(Status, string) {},
		Emit: func(_ context.Context, events ...event.Event) error {
			for _, e := range events {
				var d struct{ Msg string }
				if err := json.Unmarshal(e.Data, &d); err != nil {
					return err
				}
				b.told = append(b.told, string(e.Type)+": "+d.Msg)
			}
			return nil
		},
	}
	return b
}

type remembered map[string]string

func (m remembered) Load(_ context.Context, key string) (string, error) { return m[key], nil }

func (m remembered) Store(_ context.Context, key, value string) error {
	m[key] = value
	return nil
}

func (b *licenceBench) write(payload string) {
	b.t.Helper()
	text := payload + "\n" + base64.StdEncoding.EncodeToString(ed25519.Sign(b.key, []byte(payload))) + "\n"
	if err := os.WriteFile(b.path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *licenceBench) open() Source {
	b.t.Helper()
	s, err := newLicense(licenseOptions{
		Enabled: true, File: b.path, Interval: config.Duration(10 * time.Second),
		PublicKey: base64.StdEncoding.EncodeToString(b.key.Public().(ed25519.PublicKey)),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// TestLicense tells of each change of status once, also over a restart and when
// the time of the licence ends.
func TestLicense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLicenceBench(t)
		until := time.Now().Add(time.Hour).UTC()
		good := `{"subject":"Example Ltd","not_after":"` + until.Format(time.RFC3339) + `","hosts":["web-17"]}`
		run := func(steps ...func()) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- b.open().Run(ctx, b.env) }()
			synctest.Wait()
			for _, step := range steps {
				step()
				time.Sleep(11 * time.Second) // of the bubble's clock: the next look
				synctest.Wait()
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		run(func() {}, func() { b.write(good) }, func() { b.write(good) }, func() { b.write(strings.Replace(good, "web-17", "db-3", 1)) }, func() {
			if err := os.WriteFile(b.path, []byte(strings.Replace(good, "Ltd", "Inc", 1)+"\nAAAA\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, func() { b.write(good) })
		run(func() {}, func() { time.Sleep(time.Hour) })
		want := []string{
			"license.invalid: open " + b.path + ": no such file or directory",
			"license.valid: the licence is valid",
			"license.invalid: the licence is for other hosts than web-17",
			"license.valid: the licence is valid",
			"license.invalid: the licence ended at " + until.Format(time.RFC3339),
		}
		if diff := cmp.Diff(want, b.told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

func TestLicenseReasons(t *testing.T) {
	b := newLicenceBench(t)
	l := b.open().(*license)
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	l.now = func() time.Time { return now }
	for payload, want := range map[string]string{
		`{"not_before":"2027-01-01T00:00:00Z"}`: "begins at 2027-01-01",
		`{"not_after":"2026-11-21T12:00:00Z"}`:  "ended at 2026-11-21",
		`{"not_after":12}`:                      "can't be read",
		`nonsense`:                              "can't be read",
		`{}`:                                    "",
	} {
		b.write(payload)
		_, err := l.judge("web-17")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", payload, err, want)
		}
	}
	for content, want := range map[string]string{
		"":                                "another form",
		"{}\n":                            "another form",
		"{}\n" + strings.Repeat("A", 88):  "signature of the licence is wrong",
		strings.Repeat("x", maxLicense+1): "larger than",
	} {
		if strings.HasSuffix(content, "A") {
			content = "{}\n" + base64.StdEncoding.EncodeToString(make([]byte, ed25519.SignatureSize))
		}
		if err := os.WriteFile(b.path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := l.judge("web-17"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", content, err, want)
		}
	}
	for _, o := range []licenseOptions{{}, {File: "x", Interval: config.Duration(time.Second), PublicKey: "AAAA"}, {File: "x", PublicKey: ""}} {
		if _, err := newLicense(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
