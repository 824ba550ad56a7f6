package e2e

import (
	"fmt"
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// status is how a source fares, and what it lacks.
func (s *server) sourceStatus(name string) (status, lacks string) {
	s.t.Helper()
	for _, row := range parse[struct{ Items []object }](s.t, s.get("/v1/sources").body).Items {
		if row["name"] == name {
			return text(row["status"]), text(row["lacks"])
		}
	}
	s.t.Fatalf("there is no source %s", name)
	return "", ""
}

// await waits for an event and returns its data, without the members that differ
// from run to run, which must be there and have their form.
func (s *server) await(filter string, differ ...string) object {
	s.t.Helper()
	var found []object
	eventually(s.t, filter, func() bool {
		found = s.find("filter", filter).Events
		return len(found) > 0
	})
	if len(found) > 1 {
		s.t.Errorf("%s: %d events: %v", filter, len(found), found)
	}
	data := maps.Clone(found[0]["data"].(object))
	for _, name := range differ {
		switch v := text(data[name]); name {
		case "since":
			if at, err := time.Parse(time.RFC3339Nano, v); err != nil || time.Since(at) > time.Hour || time.Since(at) < 0 {
				s.t.Errorf("%s: since %q", filter, v)
			}
		case "duration_ms":
			if n := number(s.t, data[name]); n < 0 || n > 20_000 || v == "" {
				s.t.Errorf("%s: duration_ms %v", filter, data[name])
			}
		default:
			if v == "" {
				s.t.Errorf("%s: %s is missing: %v", filter, name, data)
			}
		}
		delete(data, name)
	}
	return data
}

// same compares data, whose figures are written as decimals.
func same(t *testing.T, what string, want, got object) {
	t.Helper()
	words := func(o object) map[string]string {
		all := map[string]string{}
		for k, v := range o {
			all[k] = fmt.Sprint(v)
		}
		return all
	}
	if diff := cmp.Diff(words(want), words(got)); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

// sourcesOf is the configuration of the sources that watch a machine, and no others.
func sourcesOf(m *machine, service string) string {
	where := fmt.Sprintf("bus: %q, journal: %q", m.busAddress(), m.journal())
	return fmt.Sprintf("sources: {disk_full: {enabled: false}, domain_expiry: {enabled: false}, service_down: {%s, %s}, cron_failed: {%s}, backup_succeeded: {%s}, backup_failed: {%s}}",
		where, service, where, where, where)
}

// TestHostSystemd provokes a real systemd: a server that is there before it, its
// services that are killed, restarted, stuck and flapping, its timers and those of
// a user, and its end and second start.
func TestHostSystemd(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	s := start(t, sourcesOf(m, "grace: 2s"))
	for _, name := range []string{"service_down", "cron_failed", "backup_failed"} {
		eventually(t, name+" to be unavailable", func() bool { status, _ := s.sourceStatus(name); return status == "unavailable" })
	}
	if _, lacks := s.sourceStatus("service_down"); !strings.Contains(lacks, m.busAddress()) {
		t.Errorf("service_down lacks %q", lacks)
	}
	m.start()
	for _, name := range []string{"service_down", "cron_failed", "backup_failed"} {
		eventually(t, name+" to run", func() bool { status, _ := s.sourceStatus(name); return status == "running" })
	}
	provokeServices(t, s, m)
	provokeTimers(t, s, m)

	// A restart of the server tells nothing twice, nor does one of systemd.
	before := len(s.find("filter", `kind == "host"`).Events)
	s.stop()
	s = startOn(t, s.data, sourcesOf(m, "grace: 1h"))
	eventually(t, "service_down to run again", func() bool { status, _ := s.sourceStatus("service_down"); return status == "running" })
	m.stop()
	eventually(t, "service_down to miss systemd", func() bool { status, _ := s.sourceStatus("service_down"); return status == "unavailable" })
	m.start()
	eventually(t, "service_down to find systemd", func() bool { status, _ := s.sourceStatus("service_down"); return status == "running" })
	m.kill9("flaky.service")
	run := m.invocation("flaky.service")
	s.await(`type == "service_down" && data.reason == "failed" && data.invocation_id == "` + run + `"`)
	// The journal is rotated, and those who read it are killed.
	m.call("KillUnit", "systemd-journald.service", "main", int32(syscall.SIGUSR2))
	for _, child := range children(s.cmd.Process.Pid) {
		if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	m.startUnit("tidy.timer")
	eventually(t, "the timer's second failure", func() bool {
		return len(s.find("filter", `type == "cron_failed" && data.unit == "tidy.service"`).Events) == 2
	})
	if now := len(s.find("filter", `kind == "host"`).Events); now != before+2 {
		t.Errorf("%d events, then %d: two were provoked", before, now)
	}
}

func provokeServices(t *testing.T, s *server, m *machine) {
	t.Helper()
	run := m.invocation("flaky.service")
	m.kill9("flaky.service")
	failed := object{
		"unit": "flaky.service", "reason": "failed", "result": "signal", "exit_status": 137, "restarts": 0, "invocation_id": run,
		"description": "A shop", "active_state": "failed", "sub_state": "failed", "output": "the shop is open\n",
	}
	same(t, "a killed service", failed, s.await(`type == "service_down" && data.unit == "flaky.service" && data.reason == "failed"`, "since"))

	run = m.invocation("restarting.service")
	m.kill9("restarting.service")
	same(t, "a restarted service", object{
		"unit": "restarting.service", "reason": "restarted", "result": "signal", "exit_status": 137, "restarts": 1, "invocation_id": run,
		"description": "A queue", "output": "at work\n",
	}, s.await(`type == "service_down" && data.unit == "restarting.service"`, "since", "active_state", "sub_state"))

	m.startUnit("stuck.service")
	same(t, "a stuck service", object{
		"unit": "stuck.service", "reason": "degraded", "result": "success", "restarts": 0,
		"description": "A database that recovers", "active_state": "activating", "sub_state": "start",
	}, s.await(`type == "service_down" && data.unit == "stuck.service"`, "since", "invocation_id"))
	failed["reason"] = "degraded"
	same(t, "a service that stays down", failed, s.await(`type == "service_down" && data.unit == "flaky.service" && data.reason == "degraded"`, "since"))

	m.startUnit("flapping.service")
	same(t, "a flapping service", object{
		"unit": "flapping.service", "reason": "restarted", "result": "exit-code", "exit_status": 78, "restarts": 1,
		"description": "A daemon with a broken configuration",
	}, s.await(`type == "service_down" && data.unit == "flapping.service"`, "since", "active_state", "sub_state", "invocation_id", "output"))
	if e := s.one(`data.unit == "flapping.service"`); !strings.HasPrefix(text(dig(e, "data.output")), "cannot read my configuration\n") {
		t.Errorf("a flapping service: %v", e)
	}
	eventually(t, "many restarts", func() bool {
		n, _ := m.property("flapping.service", "org.freedesktop.systemd1.Service.NRestarts").Value().(uint32)
		return n > 50
	})
	m.call("StopUnit", "flapping.service", "replace")
	if n := len(s.find("filter", `data.unit == "flapping.service"`).Events); n != 1 {
		t.Errorf("%d events of a flapping service", n)
	}
}

func provokeTimers(t *testing.T, s *server, m *machine) {
	t.Helper()
	m.startUnit("tidy.timer")
	same(t, "a timer of the system", object{
		"name": "tidy", "unit": "tidy.service", "user": "www-data", "exit_status": 3, "result": "exit-code", "description": "Tidy up",
		"output": "tidying\nno such folder\n",
	}, s.await(`type == "cron_failed" && data.unit == "tidy.service"`, "duration_ms"))
	m.asUser("mirror.timer")
	same(t, "a timer of a user", object{
		"name": "mirror", "unit": "mirror.service", "user": "www-data", "exit_status": 4, "result": "exit-code", "output": "mirroring\n",
	}, s.await(`type == "cron_failed" && data.unit == "mirror.service"`, "duration_ms"))
	if found := s.find("filter", `type == "service_down" && data.unit == "tidy.service"`).Events; len(found) != 0 {
		t.Errorf("a timer's service is told of twice: %v", found)
	}
}
