package source

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
)

// recorder is an Env that keeps what a source says. Memory outlives it, as the
// state database does.
type recorder struct {
	Env
	events []event.Event
	status Status
	lacks  string
	stored map[string]string
	fail   error
}

func (r *recorder) Load(_ context.Context, key string) (string, error) { return r.stored[key], nil }

func (r *recorder) Store(_ context.Context, key, value string) error {
	r.stored[key] = value
	return nil
}

func newRecorder(stored map[string]string) *recorder {
	r := &recorder{stored: stored}
	r.Env = Env{
		Host: "web-17", Base: "https://t.example", Log: slog.New(slog.DiscardHandler), Memory: r,
		Emit: func(_ context.Context, events ...event.Event) error {
			if r.fail == nil {
				r.events = append(r.events, events...)
			}
			return r.fail
		},
		Status: func(s Status, lacks string) { r.status, r.lacks = s, lacks },
	}
	return r
}

// told is what was said since the last call, checked against the catalog.
func (r *recorder) told(t *testing.T, fields ...string) []string {
	t.Helper()
	c := catalog.New()
	var all []string
	for _, e := range r.events {
		if m := c.Check(&e); m != nil {
			t.Errorf("%s does not fit the catalog: %v", e.Type, m)
		}
		if err := e.Validate(); err != nil || e.Host != "web-17" {
			t.Errorf("%s: host %q, %v", e.Type, e.Host, err)
		}
		var data map[string]any
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		one := []string{string(e.Type), e.Severity.String(), e.Subject}
		for _, f := range fields {
			raw, err := json.Marshal(data[f])
			if err != nil {
				t.Fatal(err)
			}
			one = append(one, string(raw))
		}
		all = append(all, strings.Join(one, " "))
	}
	r.events = nil
	return all
}

// Once above the high-watermark, again only after the low one, and a restart in
// between changes nothing.
func TestDiskHysteresis(t *testing.T) {
	var percent int64
	stored := map[string]string{}
	newOne := func() (*disk, *recorder) {
		s, err := newDisk(diskOptions{Enabled: true, Interval: 1e9, High: 85, Low: 80})
		if err != nil {
			t.Fatal(err)
		}
		d := s.(*disk)
		d.mounts = func() ([]mount, error) { return []mount{{"/home", "/dev/sda1", "ext4"}, {"/gone", "x", "ext4"}}, nil }
		d.statfs = func(path string) (int64, int64, error) {
			if path == "/gone" {
				return 0, 0, errors.New("gone")
			}
			return percent * 10, 1000, nil
		}
		return d, newRecorder(stored)
	}
	d, r := newOne()
	steps := []struct {
		percent int64
		restart bool
		want    []string
	}{
		{50, false, nil},
		{84, false, nil},
		{86, false, []string{"disk_full warn filesystem/home 86 85 860 1000"}},
		{99, false, nil},
		{82, false, nil},
		{90, true, nil},
		{79, false, nil},
		{97, false, []string{"disk_full error filesystem/home 97 85 970 1000"}},
		{100, true, nil},
		{10, false, nil},
	}
	for i, step := range steps {
		if step.restart {
			d, r = newOne()
		}
		percent = step.percent
		if err := d.look(t.Context(), &r.Env); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, r.told(t, "used_percent", "threshold_percent", "used_bytes", "limit_bytes")); diff != "" {
			t.Errorf("step %d at %d %%: %s", i, step.percent, diff)
		}
	}
	if r.status != Running {
		t.Errorf("status %s", r.status)
	}
}

// A file system whose server is away holds up nothing, and is measured when it is back.
func TestDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := make(chan struct{})
		var asked atomic.Int32
		d := &disk{diskOptions: diskOptions{High: 85, Low: 80}}
		d.mounts = func() ([]mount, error) { return []mount{{"/nfs", "x", "nfs4"}, {"/", "x", "ext4"}}, nil }
		d.statfs = func(path string) (int64, int64, error) {
			if path == "/nfs" {
				asked.Add(1)
				<-back
			}
			return 99, 100, nil
		}
		r := newRecorder(map[string]string{})
		look := func(want ...string) {
			t.Helper()
			if err := d.look(t.Context(), &r.Env); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, r.told(t)); diff != "" {
				t.Error(diff)
			}
		}
		look("disk_full error filesystem/")
		look()
		if asked.Load() != 1 || r.status != Running || !strings.Contains(r.lacks, "/nfs does not answer") {
			t.Errorf("asked %d times; %s %s", asked.Load(), r.status, r.lacks)
		}
		close(back)
		synctest.Wait()
		look("disk_full error filesystem/nfs")
		if r.lacks != "" {
			t.Errorf("lacks %s", r.lacks)
		}
	})
}

// The overlays of containers are not told of beside the file system on which all are;
// the root of one is, and what is named.
func TestDiskLayers(t *testing.T) {
	layer := "/var/lib/docker/overlay2/x/merged"
	for _, c := range []struct{ paths, want []string }{
		{nil, []string{"disk_full error filesystem/", "disk_full error filesystem/var"}},
		{[]string{layer}, []string{"disk_full error filesystem" + layer}},
	} {
		d := &disk{diskOptions: diskOptions{High: 85, Low: 80, Paths: c.paths}}
		d.mounts = func() ([]mount, error) {
			return []mount{{"/", "overlay", "overlay"}, {"/var", "/dev/sda1", "ext4"}, {layer, "overlay", "overlay"}}, nil
		}
		d.statfs = func(string) (int64, int64, error) { return 99, 100, nil }
		r := newRecorder(map[string]string{})
		if err := d.look(t.Context(), &r.Env); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, r.told(t)); diff != "" {
			t.Error(diff)
		}
	}
}

// What could not be recorded is told again.
func TestDiskRecordFails(t *testing.T) {
	d := &disk{diskOptions: diskOptions{High: 85, Low: 80}}
	d.mounts = func() ([]mount, error) { return []mount{{"/", "x", "ext4"}}, nil }
	d.statfs = func(string) (int64, int64, error) { return 99, 100, nil }
	r := newRecorder(map[string]string{})
	r.fail = errors.New("disk full")
	if err := d.look(t.Context(), &r.Env); !errors.Is(err, r.fail) {
		t.Errorf("look = %v", err)
	}
	r.fail = nil
	if err := d.look(t.Context(), &r.Env); err != nil || len(r.told(t)) != 1 {
		t.Errorf("the event is lost: %v", err)
	}
}

func TestParseMounts(t *testing.T) {
	const info = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw - proc proc rw
24 22 0:22 / /run rw - tmpfs tmpfs rw
25 22 8:2 / /srv/my\040data rw - xfs /dev/sda2 rw
26 22 8:1 /var /mnt/bind rw - ext4 /dev/sda1 rw
27 22 7:0 / /snap/x ro - squashfs /dev/loop0 ro
`
	got, err := parseMounts(bufio.NewScanner(strings.NewReader(info)))
	want := []mount{{"/", "/dev/sda1", "ext4"}, {"/srv/my data", "/dev/sda2", "xfs"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("parseMounts = %v, %v, want %v", got, err, want)
	}
	if _, err := parseMounts(bufio.NewScanner(strings.NewReader("garbage\n"))); err == nil {
		t.Error("garbage is taken")
	}
	if here, err := realMounts(); err != nil || len(here) == 0 {
		t.Errorf("this machine has the mounts %v, %v", here, err)
	}
	if used, limit, err := measure("/"); err != nil || used <= 0 || limit < used {
		t.Errorf("measure(/) = %d of %d, %v", used, limit, err)
	}
}

// writeCertificate makes a certificate that ends at a time.
func writeCertificate(t *testing.T, path, name string, end time.Time, authority bool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name, "www." + name},
		NotBefore: end.Add(-90 * 24 * time.Hour), NotAfter: end, IsCA: authority, BasicConstraintsValid: true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A certificate's last weeks: told at 14, 7, 3 and 1 days, once each, and when it
// is over; never again after a restart.
func TestCertificateStages(t *testing.T) {
	dir, stored := t.TempDir(), map[string]string{}
	end := time.Date(2026, 12, 24, 12, 0, 0, 0, time.UTC)
	writeCertificate(t, filepath.Join(dir, "cert.pem"), "shop.example", end, true) // openssl's self-signed ones are authorities
	writeCertificate(t, filepath.Join(dir, "other.crt"), "fine.example", end.AddDate(1, 0, 0), false)
	if err := os.WriteFile(filepath.Join(dir, "garbage.pem"), []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	for at := end.AddDate(0, 0, -20); at.Before(end.AddDate(0, 0, 3)); at = at.Add(6 * time.Hour) {
		s, err := newCertificate(certificateOptions{Enabled: true, Interval: 1e9, Days: []int{14, 7, 3, 1}, Paths: []string{dir, "/nowhere"}})
		if err != nil {
			t.Fatal(err)
		}
		r := newRecorder(stored)
		if err := s.(*certificate).look(t.Context(), &r.Env, at); err != nil {
			t.Fatal(err)
		}
		got = append(got, r.told(t, "days_left", "expired", "not_after")...)
	}
	want := []string{
		`domain_expiry warn certificate/shop.example 14 false "2026-12-24T12:00:00Z"`,
		`domain_expiry warn certificate/shop.example 7 false "2026-12-24T12:00:00Z"`,
		`domain_expiry warn certificate/shop.example 3 false "2026-12-24T12:00:00Z"`,
		`domain_expiry error certificate/shop.example 1 false "2026-12-24T12:00:00Z"`,
		`domain_expiry error certificate/shop.example -1 true "2026-12-24T12:00:00Z"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A renewed certificate replaces the old one for the same names.
func TestCertificateRenewed(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	writeCertificate(t, filepath.Join(dir, "old.pem"), "shop.example", now.Add(48*time.Hour), false)
	writeCertificate(t, filepath.Join(dir, "new.pem"), "shop.example", now.Add(90*24*time.Hour), false)
	r := newRecorder(map[string]string{})
	c := &certificate{certificateOptions: certificateOptions{Days: []int{1, 3, 7, 14}, Paths: []string{dir}}}
	if err := c.look(t.Context(), &r.Env, now); err != nil || len(r.told(t)) != 0 || r.status != Running {
		t.Errorf("look = %v, status %s", err, r.status)
	}
	c.Paths = []string{filepath.Join(dir, "none")}
	if err := c.look(t.Context(), &r.Env, now); err != nil || r.status != Idle || !strings.Contains(r.lacks, "sources.domain_expiry.paths") {
		t.Errorf("nothing to watch: %v, %s, %s", err, r.status, r.lacks)
	}
}

// A copy in another folder, which nobody renewed, is told; and a folder may be a link.
func TestCertificateCopy(t *testing.T) {
	renewed, dir, now := t.TempDir(), t.TempDir(), time.Now()
	writeCertificate(t, filepath.Join(renewed, "cert.pem"), "shop.example", now.Add(90*24*time.Hour), false)
	writeCertificate(t, filepath.Join(dir, "cert.pem"), "shop.example", now.Add(48*time.Hour), false)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	r := newRecorder(map[string]string{})
	c := &certificate{certificateOptions: certificateOptions{Days: []int{1, 3, 7, 14}, Paths: []string{renewed, link}}}
	if err := c.look(t.Context(), &r.Env, now); err != nil {
		t.Fatal(err)
	}
	want := []string{`domain_expiry error certificate/shop.example "` + filepath.Join(link, "cert.pem") + `"`}
	if diff := cmp.Diff(want, r.told(t, "path")); diff != "" {
		t.Error(diff)
	}
}

func options(t *testing.T, text string) map[string]yaml.Node {
	t.Helper()
	var m map[string]yaml.Node
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestOpenOptions(t *testing.T) {
	for text, says := range map[string]string{
		"disk_full: {enabled: false}":               "",
		"domain_expiry: {days: [30], interval: 1h}": "",
		"disk_full: {hihg: 90}":                     `line 1: unknown option "hihg"`,
		"disk_full: [1]":                            "must be a mapping",
		"disk_full: {high: 150}":                    "high and low must be percentages",
		"disk_full: {interval: 5}":                  "not a duration",
		"disk_full: {interval: 1ms}":                "shorter than 1s",
		"\nnothing: {}":                             `line 2: there is no source "nothing"`,
		"domain_expiry: {days: [0]}":                "out of range",
	} {
		_, err := Open(options(t, text), Env{}, nil)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("Open(%q) = %v, want %q", text, err, says)
		}
	}
	set, err := Open(options(t, "disk_full: {enabled: false}"), Env{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range set.Rows() {
		if want := map[string]Status{"disk_full": Disabled}[row.Name]; want != "" && row.Status != want {
			t.Errorf("%s is %s, want %s", row.Name, row.Status, want)
		}
		for _, o := range row.Options {
			if o.Name == "" || o.Doc == "" || o.Type == "" {
				t.Errorf("%s: option %+v is not documented", row.Name, o)
			}
		}
	}
}

// faulty fails, then panics, then works.
type faulty struct{ runs int }

func (f *faulty) Run(ctx context.Context, env *Env) error {
	f.runs++
	switch f.runs {
	case 1:
		return errors.New("no connection")
	case 2:
		panic("a bug")
	}
	env.Status(Running, "")
	<-ctx.Done()
	return nil
}

// A panic in any goroutine of a source is an error of the source: the others and the
// server go on.
func TestPanicInPart(t *testing.T) {
	bug := func(context.Context) error { panic("a bug") }
	other := func(ctx context.Context) error { <-ctx.Done(); return nil }
	if p, ok := errors.AsType[*PanicError](inParallel(t.Context(), other, bug)); !ok || p.Exception.Message != "a bug" {
		t.Errorf("%v", p)
	}
	// One that is over by itself ends none of the others.
	reached := false
	if err := inParallel(t.Context(), func(context.Context) error { return nil }, func(ctx context.Context) error { reached = ctx.Err() == nil; return nil }); err != nil || !reached {
		t.Errorf("%v, %v", err, reached)
	}
}

// A source that fails is started anew, and its panic ends nobody else.
func TestSupervise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, failures := &faulty{}, 0
		m := &member{source: f, row: Row{Name: "x"}}
		set := &Set{env: newRecorder(nil).Env, members: []*member{m}, failed: func(string, error) { failures++ }}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = set.Run(ctx) }()
		synctest.Wait()
		if row := set.Rows()[0]; row.Status != Failed || row.LastError != "no connection" {
			t.Errorf("after the first failure: %+v", row)
		}
		time.Sleep(firstPause)
		synctest.Wait()
		if row := set.Rows()[0]; row.Status != Failed || row.LastError != "panic: a bug" {
			t.Errorf("after the panic: %+v", row)
		}
		time.Sleep(2 * firstPause)
		synctest.Wait()
		if row := set.Rows()[0]; row.Status != Running || f.runs != 3 || failures != 2 {
			t.Errorf("after the third start: %+v, %d runs, %d failures", row, f.runs, failures)
		}
		stop()
		<-done
	})
}
