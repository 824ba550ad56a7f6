package source

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// maxTracks is the largest number of services that are remembered as told of,
// and in the making.
const maxTracks = 1000

// settleTime is how long a failed service must stay failed to be told of as such:
// one that systemd will start anew passes through this state.
const settleTime = 300 * time.Millisecond

// track is what was seen of a service.
type track struct {
	last    unit
	ended   unit      // as it was when its last run had ended and a restart was due
	down    time.Time // since when it neither runs nor is stopped; zero while it does
	pending time.Time // when it was seen to have failed, until that is told
	late    bool      // degraded was told, or was not to be told
}

// told is what was told of a service; it is kept in the memory.
type told struct {
	Failed   string `json:"failed,omitempty"` // the run that failed
	Degraded bool   `json:"degraded,omitempty"`
}

const toldKey = "told"

func (s *service) load(ctx context.Context, env *Env) error {
	text, err := env.Memory.Load(ctx, toldKey)
	if err != nil {
		return err
	}
	s.told = map[string]told{}
	if text != "" && json.Unmarshal([]byte(text), &s.told) != nil {
		s.told = map[string]told{} // damaged: at worst something is told again
	}
	return nil
}

// remember notes what was told of a service; of the zero value nothing is kept.
func (s *service) remember(name string, t told) {
	if s.told[name] == t {
		return
	}
	if t == (told{}) || len(s.told) >= maxTracks && s.told[name] == (told{}) {
		delete(s.told, name)
	} else {
		s.told[name] = t
	}
	s.unsaved = true
}

// save stores what is remembered, where that has changed. What is told twice
// because the server was killed before has the same id both times.
func (s *service) save(ctx context.Context, env *Env) error {
	if !s.unsaved {
		return nil
	}
	text, err := json.Marshal(s.told)
	if err != nil {
		return fmt.Errorf("what was told: %w", err)
	}
	if err := env.Memory.Store(ctx, toldKey, string(text)); err != nil {
		return err
	}
	s.unsaved = false
	return nil
}

func (s *service) forget(gone func(name string) bool) {
	before := len(s.told)
	maps.DeleteFunc(s.tracks, func(name string, _ *track) bool { return gone(name) })
	maps.DeleteFunc(s.told, func(name string, _ told) bool { return gone(name) })
	s.unsaved = s.unsaved || len(s.told) != before
}

// healthy tells whether a service does what it should: it runs, was stopped, or
// is a oneshot at work.
func (u *unit) healthy() bool {
	switch u.active {
	case "active", "inactive":
		return true
	case "activating":
		return u.kind == "oneshot" && strings.HasPrefix(u.sub, "start")
	default:
		return false
	}
}

// run identifies one run of a unit, also where systemd gives no id.
func (u *unit) run() string {
	if u.invocation != "" {
		return u.invocation
	}
	return u.changed.Format(time.RFC3339Nano)
}

// judge tells of a service what there is to tell. first is set where it is read
// as it stands, and not as it changes.
func (s *service) judge(ctx context.Context, env *Env, u unit, now time.Time, first bool) error {
	if !s.watched(&u) {
		delete(s.tracks, u.name)
		return nil
	}
	t := s.tracks[u.name]
	if t == nil {
		t = &track{last: u}
		s.tracks[u.name] = t
	}
	before := t.last
	t.last = u
	restarts := strings.Contains(u.sub, "auto-restart")
	if !t.pending.IsZero() && u.run() != before.run() || u.active != "failed" {
		if !t.pending.IsZero() && !restarts { // somebody was quick to start it
			if err := s.tellFailed(ctx, env, t, &before); err != nil {
				return err
			}
		}
		t.pending = time.Time{}
	}
	s.watchDown(t, now, first)
	if u.restarts > before.restarts {
		if err := s.tellRestart(ctx, env, t, now); err != nil {
			return err
		}
	}
	switch {
	case restarts:
		t.ended = u
	case u.active == "failed" && t.pending.IsZero() && s.told[u.name].Failed != u.run():
		t.pending = now
	case u.healthy():
		s.remember(u.name, told{})
	}
	return nil
}

// watchDown notes since when a service is not as it should be. What has been
// failed for longer than the grace period when it is seen first is not told as
// degraded besides.
func (s *service) watchDown(t *track, now time.Time, first bool) {
	switch {
	case t.last.healthy():
		t.down = time.Time{}
	case t.down.IsZero():
		t.down = now
		if first && !t.last.changed.IsZero() && t.last.changed.Before(now) {
			t.down = t.last.changed
		}
		known := s.told[t.last.name]
		t.late = known.Degraded || first && t.last.active == "failed" && known.Failed == "" && now.Sub(t.down) >= time.Duration(s.Grace)
	}
}

// tellFailed tells of a run that has failed.
func (s *service) tellFailed(ctx context.Context, env *Env, t *track, u *unit) error {
	known := s.told[u.name]
	if err := s.tell(ctx, env, s.floods[0], u, "failed", event.Error); err != nil {
		return err
	}
	known.Failed, known.Degraded = u.run(), t.late
	s.remember(u.name, known)
	return nil
}

// tellRestart tells how the run ended that systemd has followed by a new one.
func (s *service) tellRestart(ctx context.Context, env *Env, t *track, now time.Time) error {
	ended := t.ended
	t.ended = unit{}
	switch {
	case ended.name == "": // it was not seen: before the start, or while there was no connection
		ended = t.last
		ended.result, ended.code, ended.status, ended.changed = "", 0, 0, now
	case !s.Clean && ended.result == "success" && !ended.killed() && ended.status == 0:
		return nil
	}
	ended.restarts, ended.active, ended.sub = t.last.restarts, t.last.active, t.last.sub
	return s.tell(ctx, env, s.floods[1], &ended, "restarted", event.Warn)
}

// overdue tells of the services that stayed failed, and of those whose grace
// period has ended.
func (s *service) overdue(ctx context.Context, env *Env, now time.Time) error {
	for _, t := range s.tracks {
		if !t.pending.IsZero() && now.Sub(t.pending) >= settleTime {
			if err := s.tellFailed(ctx, env, t, &t.last); err != nil {
				return err
			}
			t.pending = time.Time{}
		}
		if t.down.IsZero() || t.late || now.Sub(t.down) < time.Duration(s.Grace) {
			continue
		}
		u := t.last
		u.changed = t.down
		if err := s.tell(ctx, env, s.floods[0], &u, "degraded", event.Error); err != nil {
			return err
		}
		t.late = true
		known := s.told[u.name]
		known.Degraded = true
		s.remember(u.name, known)
	}
	return nil
}

// nextDue is how long it is until one of these times.
func (s *service) nextDue(now time.Time) time.Duration {
	next := time.Hour
	for _, t := range s.tracks {
		if !t.pending.IsZero() {
			next = min(next, settleTime-now.Sub(t.pending))
		}
		if !t.down.IsZero() && !t.late {
			next = min(next, time.Duration(s.Grace)-now.Sub(t.down))
		}
	}
	return max(next, time.Millisecond)
}

const outputLines = 20

// tell records an event about a service, through a flood of its reason.
func (s *service) tell(ctx context.Context, env *Env, f *flood, u *unit, reason string, severity event.Severity) error {
	at, since := u.changed, u.changed
	if since.IsZero() {
		since = time.Now()
	}
	if reason == "degraded" {
		at = time.Now() // that is when the grace period ended
	}
	data := map[string]any{
		"unit": u.name, "reason": reason, "restarts": u.restarts, "active_state": u.active, "sub_state": u.sub,
		"since": since.UTC().Format(time.RFC3339Nano),
	}
	if u.result != "" {
		data["result"] = u.result
	}
	if u.code != 0 {
		data["exit_status"] = u.exitStatus()
	}
	if u.description != "" && u.description != u.name {
		data["description"] = u.description
	}
	if u.invocation != "" {
		data["invocation_id"] = u.invocation
	}
	most := slots
	if reason == "restarted" {
		most = 1
	}
	key, free := f.slot(u.name+" "+reason, most)
	if lines := s.output(ctx, u, reason, free); lines != "" {
		data["output"] = lines
	}
	return f.take(ctx, env, time.Now(), finding{
		producer: "systemd", t: "service_down", severity: severity, subject: unitSubject("service", u.name), key: key,
		id: event.ID(fmt.Sprintf("%s-%s-%d-%d", u.run(), reason, u.restarts, u.changed.UnixMicro())), at: at, data: data,
	})
}

// output is what a run printed last, where it is told. One that has just ended is
// given the time in which journald takes in what it wrote; one that failed was
// waited for already.
func (s *service) output(ctx context.Context, u *unit, reason string, told bool) string {
	if !told || u.invocation == "" {
		return ""
	}
	if reason == "restarted" {
		select {
		case <-time.After(settleOutput):
		case <-ctx.Done():
		}
	}
	return outputOf(ctx, s.journal, u, outputLines)
}
