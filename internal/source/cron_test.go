package source

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

func testCron(t *testing.T, h *machine, units ...string) *cron {
	t.Helper()
	made, err := newCron(cronOptions{Units: units, Ignore: backupUnits, Fold: config.Duration(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	c := made.(*cron)
	c.journal, c.lookup.connect = journalOf{h}, h.connect
	return c
}

func testBackup(t *testing.T, h *machine, outcome event.Type, ids ...string) *backupWatch {
	t.Helper()
	made, err := newBackupWatch(backupOptions{Units: backupUnits, Fold: config.Duration(time.Minute)}, outcome, ids...)
	if err != nil {
		t.Fatal(err)
	}
	b := made.(*backupWatch)
	b.journal, b.lookup.connect = journalOf{h}, h.connect
	return b
}

// quiet lets time pass and compares what was told.
func (d *desk) quiet(t *testing.T, after time.Duration, members []string, want ...string) {
	t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if diff := cmp.Diff(want, d.told(t, members...)); diff != "" {
		t.Errorf("after %s: %s", after, diff)
	}
}

var jobData = []string{"name", "user", "exit_status", "result", "duration_ms", "output", "folded"}

// timer makes a service one that a timer starts.
func (h *machine) timer(name string) {
	h.set(name, func(u *unit) {
		u.kind, u.triggeredBy, u.user = "oneshot", []string{strings.TrimSuffix(name, ".service") + ".timer"}, "www-data"
	})
}

// Timers of the system and of users; what is no timer's, what is forged, and what
// tells itself is left out.
func TestCronFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, h := newDesk(), newHost()
		h.timer("tidy.service")
		h.timer("restic-home.service")
		h.timer("told.service")
		h.set("told.service", func(u *unit) { u.programs = []string{"tocsin"} })
		stop := d.running(t, testCron(t, h, "nightly-*"))
		synctest.Wait()
		h.job("tidy.service", "", 2*time.Second, 0, "all is well")
		d.quiet(t, time.Minute, jobData)
		h.job("tidy.service", "", 2*time.Second, 3, "tidying", "no such folder")
		d.quiet(t, time.Second, jobData, "cron_failed error cron/tidy name=tidy user=www-data exit_status=3 result=exit-code duration_ms=2000 output=tidying\nno such folder\n")

		h.job("mirror.service", "4242", time.Second, 4, "mirroring")
		d.quiet(t, time.Minute, jobData) // no timer is known
		h.log(record{UserUnit: "mirror.timer", UID: "4242", ID: messageStarted})
		h.log(record{UserUnit: "other.timer", UID: "4243", ID: messageStarted})
		h.job("mirror.service", "4242", time.Second, 4, "mirroring")
		h.job("other.service", "4242", time.Second, 4)
		d.quiet(t, time.Minute, jobData, "cron_failed error cron/mirror name=mirror user=4242 exit_status=4 result=exit-code duration_ms=1000 output=mirroring\n")

		h.job("restic-home.service", "", time.Second, 1)
		h.job("told.service", "", time.Second, 1)
		h.job("daemon.service", "", time.Second, 1)
		h.log(record{Unit: "tidy.service", PID: "4711", UID: "4242", ID: messageFailed, Result: "exit-code", Run: "f0"})
		h.log(record{Unit: "tidy.mount", PID: "1", ID: messageFailed, Result: "exit-code", Run: "f1"})
		d.quiet(t, time.Hour, jobData)
		h.job("nightly-report.service", "", time.Second, 2)
		d.quiet(t, time.Hour, jobData, "cron_failed error cron/nightly-report name=nightly-report user=root exit_status=2 result=exit-code duration_ms=1000")
		stop()
	})
}

// Without systemd on a bus, the journal tells what has a timer.
func TestCronWithoutBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, h := newDesk(), newHost()
		h.cut(&absentError{"no bus"})
		stop := d.running(t, testCron(t, h))
		synctest.Wait()
		h.job("tidy.service", "", time.Second, 3)
		h.log(record{Unit: "weekly.timer", PID: "1", ID: messageStarted})
		h.job("weekly.service", "", time.Second, 3)
		d.quiet(t, time.Minute, []string{"user"}, "cron_failed error cron/weekly user=root")
		stop()
	})
}

// What happens while the server or the journal is away is told afterwards, once.
func TestCronPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, h := newDesk(), newHost()
		h.timer("tidy.service")
		h.job("tidy.service", "", time.Second, 9) // before the first start: no news
		time.Sleep(time.Second)
		stop := d.running(t, testCron(t, h))
		d.quiet(t, time.Second, jobData)
		stop()
		h.job("tidy.service", "", time.Second, 3)
		stop = d.running(t, testCron(t, h))
		d.quiet(t, time.Second, []string{"exit_status"}, "cron_failed error cron/tidy exit_status=3")
		stop()
		stop = d.running(t, testCron(t, h))
		d.quiet(t, time.Hour, jobData)

		h.mu.Lock()
		h.broken = &absentError{"no permission"}
		close(h.grown)
		h.grown = make(chan struct{})
		h.mu.Unlock()
		time.Sleep(time.Minute)
		if status, lacks := d.say(); status != Unavailable || lacks != "no permission" {
			t.Errorf("without a journal: %s, %s", status, lacks)
		}
		h.job("tidy.service", "", time.Second, 5)
		h.mu.Lock()
		h.broken = nil
		h.mu.Unlock()
		d.quiet(t, 20*time.Second, []string{"exit_status"}, "cron_failed error cron/tidy exit_status=5")

		// A journal that was removed knows no place that was stored.
		stop()
		h.records = nil
		stop = d.running(t, testCron(t, h))
		time.Sleep(time.Minute)
		h.job("tidy.service", "", time.Second, 6)
		d.quiet(t, time.Minute, []string{"exit_status"}, "cron_failed error cron/tidy exit_status=6")
		stop()
	})
}

// Ten thousand failures are some events with a count.
func TestCronFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, h := newDesk(), newHost()
		h.timer("tidy.service")
		stop := d.running(t, testCron(t, h))
		synctest.Wait()
		for n := range 10_000 {
			h.log(record{Unit: "tidy.service", PID: "1", ID: messageFailed, Result: "exit-code", Run: field(fmt.Sprint("r", n))})
		}
		one := "cron_failed error cron/tidy name=tidy"
		d.quiet(t, 5*time.Minute, []string{"name", "folded"}, one, one, one, one+" folded=9996")
		stop()
	})
}

const resticSummary = `{"message_type":"summary","data_added":716,"total_files_processed":2,"snapshot_id":"03a6e99b"}`

var backupData = []string{"name", "tool", "exit_status", "duration_ms", "bytes", "files", "snapshot", "error", "warnings", "folded"}

// Each outcome is told by its source, of units of the system and of users.
func TestBackupUnits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		well, badly, h := newDesk(), newDesk(), newHost()
		stopWell := well.running(t, testBackup(t, h, "backup_succeeded", messageSucceeded, messageFailed))
		stopBadly := badly.running(t, testBackup(t, h, "backup_failed", messageFailed))
		synctest.Wait()
		h.job("restic-home.service", "", 90*time.Second, 0, "open repository", resticSummary)
		h.job("my-backup.service", "4242", time.Second, 0, resticSummary)
		well.quiet(t, time.Second, backupData,
			"backup_succeeded info backup/restic-home name=restic-home tool=restic exit_status=0 duration_ms=90000 bytes=716 files=2 snapshot=03a6e99b",
			"backup_succeeded info backup/my-backup name=my-backup tool=restic exit_status=0 duration_ms=1000 bytes=716 files=2 snapshot=03a6e99b")
		badly.quiet(t, time.Minute, backupData)
		h.job("restic-home.service", "", time.Second, 3, `{"message_type":"error","error":{"message":"open /x: permission denied"},"item":"/x"}`, resticSummary)
		badly.quiet(t, time.Second, backupData, "backup_failed error backup/restic-home name=restic-home tool=restic exit_status=3 duration_ms=1000 bytes=716 files=2 snapshot=03a6e99b error=open /x: permission denied warnings=[open /x: permission denied]")

		// Neither a job: somebody stops a daemon, and another unit ends well.
		h.log(record{Unit: "backup-server.service", PID: "1", ID: messageStopping, Run: "d1"})
		h.log(record{Unit: "backup-server.service", PID: "1", ID: messageSucceeded, Run: "d1"})
		h.job("tidy.service", "", time.Second, 0)
		// tocsin run tells itself.
		h.set("backup-run.service", func(u *unit) { u.programs = []string{"tocsin"} })
		h.job("backup-run.service", "", time.Second, 0)
		h.job("backup-run.service", "", time.Second, 1)
		well.quiet(t, time.Hour, backupData)
		badly.quiet(t, time.Hour, backupData)
		stopWell()
		stopBadly()
	})
}

// Ten thousand failures keep the source of the other outcome from nothing.
func TestBackupFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		well, badly, h := newDesk(), newDesk(), newHost()
		stopWell := well.running(t, testBackup(t, h, "backup_succeeded", messageSucceeded, messageFailed))
		stopBadly := badly.running(t, testBackup(t, h, "backup_failed", messageFailed))
		synctest.Wait()
		for n := range 10_000 {
			h.log(record{Unit: "restic.service", PID: "1", ID: messageFailed, Result: "exit-code", Run: field(fmt.Sprint("r", n))})
		}
		one := "backup_failed error backup/restic name=restic"
		badly.quiet(t, 5*time.Minute, []string{"name", "folded"}, one, one, one, one+" folded=9996")
		h.job("restic.service", "", time.Second, 0, resticSummary)
		well.quiet(t, time.Second, []string{"snapshot"}, "backup_succeeded info backup/restic snapshot=03a6e99b")
		stopWell()
		stopBadly()
	})
}
