package source

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// month is 30 days of one host in fake time: its sources run under the supervisor
// as in the server, which restarts every third day, beside the life of a host on
// which all is well. Scenes are what goes wrong besides.
//
// To add a source, give it to sourcesOf with a fake at its border that waits for
// nothing but channels and time, let healthy do what it sees on a good day, and
// write a scene for what it is to tell.
type month struct {
	*desk
	t      *testing.T
	host   *machine
	disk   atomic.Int64 // per cent
	broken atomic.Bool  // the backups' target
	certs  string
}

// scene is something that happens at a time, and all that is to be told of it.
type scene struct {
	at   time.Duration // after the start
	what string
	act  func(m *month)
	want []string // type, severity, subject; told before the next scene, in any order
}

const day = 24 * time.Hour

// Each implements History over what was recorded.
func (m *month) Each(_ context.Context, types []event.Type, after event.Seq, since time.Time, give func(*event.Event) error) (event.Seq, error) {
	m.mu.Lock()
	all := m.all
	m.mu.Unlock()
	for i := after; i < event.Seq(len(all)); i++ {
		if e := all[i]; slices.Contains(types, e.Type) && !e.Time.Before(since) {
			if err := give(&e); err != nil {
				return i, err
			}
		}
	}
	return event.Seq(len(all)), nil
}

// sourcesOf are the sources that a month is played to.
func (m *month) sourcesOf() map[string]Source {
	t, h := m.t, m.host
	disks, err := newDisk(diskOptions{Enabled: true, Interval: config.Duration(30 * time.Second), High: 85, Low: 80})
	must(t, err)
	disks.(*disk).mounts = func() ([]mount, error) { return []mount{{"/home", "/dev/sda1", "ext4"}}, nil }
	disks.(*disk).statfs = func(string) (int64, int64, error) { return m.disk.Load(), 100, nil }
	certificates, err := newCertificate(certificateOptions{Interval: config.Duration(10 * time.Minute), Days: []int{14, 7, 3, 1}, Paths: []string{m.certs}})
	must(t, err)
	forecasts, err := newForecast(forecastOptions{Interval: config.Duration(5 * time.Minute), Probability: 0.7})
	must(t, err)
	return map[string]Source{
		"service_down": testService(t, h), "cron_failed": testCron(t, h),
		"backup_succeeded": testBackup(t, h, "backup_succeeded", messageSucceeded, messageFailed), "backup_failed": testBackup(t, h, "backup_failed", messageFailed),
		"disk_full": disks, "domain_expiry": certificates, "backup_future_warnings": forecasts,
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// server runs the sources until stop.
func (m *month) server() (stop func()) {
	set := &Set{env: m.env, failed: func(name string, err error) { m.t.Errorf("%s failed: %v", name, err) }}
	sources := m.sourcesOf()
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		set.members = append(set.members, &member{source: sources[name], row: Row{Name: name}})
	}
	ctx, cancel := context.WithCancel(m.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = set.Run(ctx) }()
	return func() { cancel(); <-done }
}

// healthy is the life of a host on which all is well, until ctx ends: jobs each
// hour, a backup each night, log-outs, deployments, a worker that recycles
// itself, a long migration, a bus that is restarted, disks that fill and empty.
func (m *month) healthy(ctx context.Context) {
	h := m.host
	for _, name := range []string{"shop.service", "mail.service", "worker.service", "getty@tty1.service"} {
		h.up(name)
	}
	h.timer("tidy.service")
	h.timer("restic-home.service")
	h.log(record{UserUnit: "mirror.timer", UID: "4242", ID: messageStarted})
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for hour := 1; ; hour++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		m.disk.Store(int64(50 + 7*(hour%5)))
		h.job("tidy.service", "", time.Duration(1+hour%4)*time.Second, 0, "tidied")
		h.job("mirror.service", "4242", time.Second, 0)
		h.bounce("worker.service", 0)
		switch hour % 24 {
		case 2:
			m.backup(hour)
		case 9:
			h.bounce("getty@tty1.service", 0)
			h.up("mail.service") // deployed
		case 12:
			h.set("migrate.service", func(u *unit) { u.kind, u.active, u.sub = "oneshot", "activating", "start" })
		case 14:
			h.set("migrate.service", func(u *unit) { u.active, u.sub = "inactive", "dead" })
		case 20:
			h.cut(nil)
		}
	}
}

func (m *month) backup(hour int) {
	took, size := time.Duration(600+hour%37)*time.Second, 5_000_000+int64(hour%41)*10_000
	if m.broken.Load() {
		m.host.job("restic-home.service", "", time.Second, 1, "Fatal: unable to open config file: no such host")
		return
	}
	m.host.job("restic-home.service", "", took, 0, fmt.Sprintf(`{"message_type":"summary","data_added":%d,"total_files_processed":812,"snapshot_id":"03a6e99b"}`, size))
}

// play plays 30 days and compares what was told with what the scenes want.
// Backups that ended well are counted, and not compared.
func play(t *testing.T, scenes []scene) (backups int) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &month{desk: newDesk(), t: t, host: newHost(), certs: dir}
		m.env.History = m
		m.disk.Store(50)
		writeCertificate(t, filepath.Join(dir, "shop.pem"), "shop.example", time.Now().Add(400*day), false)
		ctx, cancel := context.WithCancel(t.Context())
		life := make(chan struct{})
		go func() { defer close(life); m.healthy(ctx) }()
		synctest.Wait()
		begin, stop := time.Now(), m.server()
		restart := time.NewTicker(3*day + 5*time.Hour)
		defer restart.Stop()
		until := func(at time.Time) {
			for {
				select {
				case <-restart.C:
					stop()
					time.Sleep(90 * time.Second)
					stop = m.server()
				case <-time.After(time.Until(at)):
					return
				}
			}
		}
		compare := func(what string, want []string) {
			t.Helper()
			var got []string
			for _, line := range m.told(t, "reason", "forecast", "days_left") {
				if strings.HasPrefix(line, "backup_succeeded ") {
					backups++
					continue
				}
				got = append(got, line)
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		what, want := "before all", []string(nil)
		for _, s := range scenes {
			until(begin.Add(s.at))
			compare(what, want)
			what, want = s.what, s.want
			s.act(m)
		}
		until(begin.Add(30 * day))
		compare(what, want)
		stop()
		cancel()
		<-life
	})
	return backups
}

// A month on which all is well: nothing is told but its backups.
func TestMonthHealthy(t *testing.T) {
	if backups := play(t, nil); backups != 30 {
		t.Errorf("%d backups", backups)
	}
}

// A month in which something goes wrong now and then: exactly that is told.
func TestMonth(t *testing.T) {
	const (
		failed   = "service_down error service/shop.service reason=failed"
		degraded = "service_down error service/shop.service reason=degraded"
	)
	backups := play(t, []scene{
		{at: 3*day + 10*time.Minute, what: "the shop fails and stays down", act: func(m *month) { m.host.fall("shop.service", 1) }, want: []string{failed, degraded}},
		{at: 3*day + 30*time.Minute, what: "it is repaired", act: func(m *month) { m.host.up("shop.service") }},
		{at: 5*day + time.Minute, what: "it fails for a minute", act: func(m *month) {
			m.host.fall("shop.service", 1)
			time.Sleep(time.Minute)
			m.host.up("shop.service")
		}, want: []string{failed}},
		{at: 6*day + time.Minute, what: "mail crashes and is restarted", act: func(m *month) { m.host.bounce("mail.service", 139) }, want: []string{"service_down warn service/mail.service reason=restarted"}},
		{at: 9*day + 5*time.Minute, what: "the disk fills and empties within an hour", act: func(m *month) { m.disk.Store(91) }, want: []string{"disk_full warn filesystem/home"}},
		{at: 11*day + 5*time.Minute, what: "and once more", act: func(m *month) { m.disk.Store(97) }, want: []string{"disk_full error filesystem/home"}},
		{at: 12*day + 5*time.Minute, what: "jobs fail", act: func(m *month) {
			m.host.job("tidy.service", "", time.Second, 3)
			m.host.job("mirror.service", "4242", time.Second, 4)
		}, want: []string{"cron_failed error cron/tidy", "cron_failed error cron/mirror"}},
		{at: 13*day + time.Minute, what: "systemd is executed anew while the shop is down", act: func(m *month) {
			m.host.fall("shop.service", 1)
			time.Sleep(30 * time.Second)
			m.host.cut(nil)
			time.Sleep(30 * time.Second)
			m.host.up("shop.service")
		}, want: []string{failed}},
		{at: 14*day + 7*time.Minute, what: "a certificate that nobody renews is put in", act: func(m *month) {
			writeCertificate(m.t, filepath.Join(m.certs, "old.pem"), "old.example", time.Now().Add(6*day+time.Hour), false)
		}, want: []string{"domain_expiry warn certificate/old.example days_left=6"}},
		{at: 15*day + 3*time.Hour, what: "it is renewed", act: func(m *month) {
			writeCertificate(m.t, filepath.Join(m.certs, "old.pem"), "old.example", time.Now().Add(90*day), false)
		}},
		{at: 20*day + 10*time.Minute, what: "the backups' target is gone", act: func(m *month) { m.broken.Store(true) }, want: []string{"backup_failed error backup/restic-home"}},
		{at: 21*day + 10*time.Minute, what: "and still is", act: func(*month) {}, want: []string{"backup_failed error backup/restic-home", "backup_future_warnings warn backup/restic-home reason=the last 2 runs failed with the same error forecast=failing"}},
		{at: 22*day + 10*time.Minute, what: "it is there again", act: func(m *month) { m.broken.Store(false) }},
	})
	if backups != 28 {
		t.Errorf("%d backups ended well, want 28", backups)
	}
}
