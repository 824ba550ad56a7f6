package source

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

var serviceData = []string{"reason", "result", "exit_status", "restarts", "folded"}

func testService(t *testing.T, h *machine) *service {
	t.Helper()
	made, err := newService(serviceOptions{
		Units: []string{"*"}, Ignore: append([]string{"getty@*"}, backupUnits...), Grace: config.Duration(2 * time.Minute), Fold: config.Duration(5 * time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := made.(*service)
	s.connect, s.journal = h.connect, journalOf{h}
	return s
}

// bench is a service source on a host, in fake time.
type bench struct {
	*desk
	t    *testing.T
	host *machine
	stop func()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{desk: newDesk(), t: t, host: newHost()}
	b.host.up("shop.service")
	b.start()
	return b
}

func (b *bench) start() {
	b.t.Helper()
	b.stop = b.running(b.t, testService(b.t, b.host))
	synctest.Wait()
}

// after lets time pass and compares what was told.
func (b *bench) after(d time.Duration, want ...string) {
	b.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if diff := cmp.Diff(want, b.told(b.t, serviceData...)); diff != "" {
		b.t.Errorf("after %s: %s", d, diff)
	}
}

// A service fails, stays down, is started again and fails again.
func TestServiceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.after(time.Hour)
		b.host.fall("shop.service", 3)
		b.after(time.Second, "service_down error service/shop.service reason=failed result=exit-code exit_status=3 restarts=0")
		b.after(118 * time.Second)
		b.after(2*time.Second, "service_down error service/shop.service reason=degraded result=exit-code exit_status=3 restarts=0")
		b.after(24 * time.Hour)
		b.host.up("shop.service")
		b.after(time.Hour)
		b.host.fall("shop.service", 4)
		b.after(time.Second, "service_down error service/shop.service reason=failed result=exit-code exit_status=4 restarts=0")
		// Started by hand before it would have been told: told nevertheless.
		b.host.up("shop.service")
		b.host.fall("shop.service", 5)
		b.host.up("shop.service")
		b.after(time.Hour, "service_down error service/shop.service reason=failed result=exit-code exit_status=5 restarts=0")
		b.stop()
	})
}

// A restart of the server tells nothing twice, and what failed while it was down
// once.
func TestServiceServerRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.host.fall("shop.service", 3)
		b.after(time.Second, "service_down error service/shop.service reason=failed result=exit-code exit_status=3 restarts=0")
		b.stop()
		b.start()
		b.after(3*time.Minute, "service_down error service/shop.service reason=degraded result=exit-code exit_status=3 restarts=0")
		b.stop()
		b.host.up("mail.service")
		b.host.fall("mail.service", 1)
		time.Sleep(time.Hour)
		b.start()
		b.after(time.Hour, "service_down error service/mail.service reason=failed result=exit-code exit_status=1 restarts=0")
		b.stop()
		b.start()
		b.after(time.Hour)
		b.stop()
	})
}

// Restarts by systemd: one is told, a flood is counted, those of an exit with
// status 0, of terminals, timers and backups are no news.
func TestServiceRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.host.bounce("shop.service", 0)
		b.host.up("getty@tty1.service")
		b.host.bounce("getty@tty1.service", 1)
		b.host.set("tidy.service", func(u *unit) { u.triggeredBy = []string{"tidy.timer"} })
		b.host.fall("tidy.service", 1)
		b.host.fall("restic-home.service", 1)
		b.after(time.Hour)
		b.host.bounce("shop.service", 78)
		b.after(time.Second, "service_down warn service/shop.service reason=restarted result=exit-code exit_status=78 restarts=2")
		for range 10_000 {
			b.host.bounce("shop.service", 78)
		}
		b.after(10*time.Minute, "service_down warn service/shop.service reason=restarted result=exit-code exit_status=78 restarts=10002 folded=9999")
		b.stop()
	})
}

// What neither runs nor stops is degraded after its grace period, however often
// systemd tries; a oneshot at work is not.
func TestServiceDegraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.host.set("database.service", func(u *unit) { u.active, u.sub = "activating", "start" })
		b.host.set("migrate.service", func(u *unit) { u.kind, u.active, u.sub = "oneshot", "activating", "start" })
		b.after(90 * time.Second)
		b.host.set("database.service", func(u *unit) { u.active, u.sub = "deactivating", "stop-sigterm" })
		b.host.set("database.service", func(u *unit) { u.active, u.sub = "activating", "auto-restart" })
		b.after(31*time.Second, "service_down error service/database.service reason=degraded result=success restarts=0")
		b.after(time.Hour)
		b.host.up("database.service")
		b.host.set("database.service", func(u *unit) { u.active, u.sub = "reloading", "reload" })
		b.after(time.Minute)
		b.host.up("database.service")
		b.after(time.Hour)
		b.host.set("database.service", func(u *unit) { u.active, u.sub = "reloading", "reload" })
		b.after(time.Hour, "service_down error service/database.service reason=degraded result=success restarts=0")
		b.stop()
	})
}

// Without a bus it waits; what changed meanwhile is read when there is one. A
// systemd that was executed anew tells nothing twice.
func TestServiceBusAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.host.fall("shop.service", 3)
		b.after(time.Second, "service_down error service/shop.service reason=failed result=exit-code exit_status=3 restarts=0")
		b.host.cut(errors.New("connection refused"))
		time.Sleep(time.Minute)
		if status, lacks := b.say(); status != Unavailable || lacks != "connection refused" {
			t.Errorf("without a bus: %s, %s", status, lacks)
		}
		b.host.up("mail.service")
		b.host.fall("mail.service", 1)
		b.host.cut(nil)
		b.after(20*time.Second, "service_down error service/mail.service reason=failed result=exit-code exit_status=1 restarts=0")
		if status, _ := b.say(); status != Running {
			t.Errorf("with a bus again: %s", status)
		}
		for range 5 {
			b.host.cut(nil)
			time.Sleep(time.Second)
		}
		b.after(time.Hour,
			"service_down error service/shop.service reason=degraded result=exit-code exit_status=3 restarts=0",
			"service_down error service/mail.service reason=degraded result=exit-code exit_status=1 restarts=0")
		b.stop()
	})
}

// What can't be recorded is told when it can.
func TestServiceRecordFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, h := newDesk(), newHost()
		h.up("shop.service")
		s := testService(t, h)
		d.fail = event.Unavailablef("the disk is full")
		ended := make(chan error, 1)
		go func() { ended <- s.Run(t.Context(), &d.env) }()
		synctest.Wait()
		h.fall("shop.service", 3)
		if err := <-ended; !errors.Is(err, d.fail) {
			t.Fatalf("Run = %v", err)
		}
		d.fail = nil
		stop := d.running(t, s)
		time.Sleep(time.Second)
		synctest.Wait()
		if all := d.told(t); len(all) != 1 {
			t.Errorf("told %v", all)
		}
		stop()
	})
}

// Of thousands of services that fail at once some are told, and all are counted.
func TestServiceStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for n := range 3 * maxTracks {
			name := "job-" + string(rune('a'+n%26)) + time.Duration(n).String() + ".service"
			b.host.up(name)
			b.host.fall(name, 1)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		count := 0
		b.mu.Lock()
		for _, e := range b.events {
			var data struct {
				Reason string
				Folded int
			}
			if err := json.Unmarshal(e.Data, &data); err != nil {
				t.Fatal(err)
			}
			if data.Reason == "failed" {
				count += 1 + data.Folded
			}
		}
		if n := len(b.events); n < mostJobs || n > 4*mostJobs {
			t.Errorf("%d events", n)
		}
		b.mu.Unlock()
		if count != 3*maxTracks {
			t.Errorf("%d failures are counted", count)
		}
		b.stop()
	})
}

func TestServiceOptions(t *testing.T) {
	for text, ok := range map[string]bool{
		"service_down: {units: [nginx*], grace: 30s}": true,
		"service_down: {units: ['[']}":                false,
		"service_down: {ignore: ['']}":                false,
		"service_down: {grace: 1ms}":                  false,
		"cron_failed: {units: ['[']}":                 false,
		"cron_failed: {fold: 0s}":                     false,
		"backup_failed: {units: []}":                  false,
	} {
		if _, err := Open(options(t, text), Env{}, nil); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}
