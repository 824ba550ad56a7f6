package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
)

// mailbench is a source that runs on a log, with a memory and a journal that
// outlive it, as a server's do.
type mailbench struct {
	t      *testing.T
	path   string
	mu     sync.Mutex // guards all below
	stored map[string]string
	record []event.Event // the journal: an id is in it once
	tries  int
	status Status
	lacks  string
	stores int
}

func newMailbench(t *testing.T) *mailbench {
	t.Helper()
	return &mailbench{t: t, path: filepath.Join(t.TempDir(), "mail.log"), stored: map[string]string{}}
}

func (b *mailbench) Load(_ context.Context, key string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stored[key], nil
}

func (b *mailbench) Store(_ context.Context, key, value string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stored[key] = value
	b.stores++
	return nil
}

// Each implements History.
func (b *mailbench) Each(_ context.Context, types []event.Type, after event.Seq, since time.Time, give func(*event.Event) error) (event.Seq, error) {
	b.mu.Lock()
	all := slices.Clone(b.record)
	b.mu.Unlock()
	for i := range all {
		if event.Seq(i+1) > after && slices.Contains(types, all[i].Type) && all[i].Time.After(since) {
			if err := give(&all[i]); err != nil {
				return after, err
			}
		}
	}
	return event.Seq(len(all)), nil
}

func (b *mailbench) add(events ...event.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range events {
		b.tries++
		if !slices.ContainsFunc(b.record, func(o event.Event) bool { return o.ID == e.ID }) {
			b.record = append(b.record, e)
		}
	}
}

// told are the events of a type, checked against the catalog.
func (b *mailbench) told(t event.Type) []event.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []event.Event
	for _, e := range b.record {
		if e.Type == t {
			all = append(all, e)
		}
	}
	return all
}

func (b *mailbench) write(lines ...string) {
	b.t.Helper()
	f, err := os.OpenFile(b.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// running runs a source while during does, and stops it.
func (b *mailbench) running(s Source, during func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	env := newRecorder(nil).Env
	env.Memory, env.History = b, b
	env.Emit = func(_ context.Context, events ...event.Event) error { b.add(events...); return nil }
	env.Problem = func(err error) {
		if err != nil {
			b.t.Errorf("a problem: %v", err)
		}
	}
	env.Status = func(s Status, lacks string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.status, b.lacks = s, lacks
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, &env) }()
	during()
	cancel()
	if err := <-done; err != nil {
		b.t.Error(err)
	}
}

// until waits for a condition.
func (b *mailbench) until(what string, holds func() bool) {
	b.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-late.C:
			b.t.Fatalf("%s: not in time", what)
		}
	}
}

func (b *mailbench) is(s Status) func() bool {
	return func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.status == s
	}
}

// dataOf is one member of an event's data, as JSON.
func dataOf(t *testing.T, e event.Event, names ...string) string {
	t.Helper()
	var data map[string]any
	if err := json.Unmarshal(e.Data, &data); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range names {
		raw, err := json.Marshal(data[name])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(raw))
	}
	return strings.Join(all, " ")
}

func TestParsePostfix(t *testing.T) {
	now := time.Date(2026, 1, 2, 10, 0, 0, 0, time.Local)
	tests := []struct {
		line, daemon, queue, text string
		at                        time.Time
	}{
		{"Jan  2 09:46:57 mx postfix/cleanup[1482]: 0F2FD9D86EA: message-id=<a@b>", "cleanup", "0F2FD9D86EA", "message-id=<a@b>", time.Date(2026, 1, 2, 9, 46, 57, 0, time.Local)},
		{"Dec 31 23:59:59 mx postfix/smtpd[1]: connect from x[1.2.3.4]", "smtpd", "", "connect from x[1.2.3.4]", time.Date(2025, 12, 31, 23, 59, 59, 0, time.Local)},
		{"2026-01-02T08:46:57.123456+01:00 mx postfix-out/submission/smtpd[9]: NOQUEUE: hold: x", "smtpd", "NOQUEUE", "hold: x", time.Date(2026, 1, 2, 7, 46, 57, 123456000, time.UTC)},
		{"Jan  2 09:46:57 mx mail7/postsuper[1]: 4Zk3bR2mHlz9vK: placed on hold", "postsuper", "4Zk3bR2mHlz9vK", "placed on hold", time.Date(2026, 1, 2, 9, 46, 57, 0, time.Local)},
		{"Jan  2 09:46:57 mx sshd[1]: hold: x", "", "", "", time.Time{}},
		{"Jan 32 09:46:57 mx postfix/smtpd[1]: x", "", "", "", time.Time{}},
		{"Jan  2 09:46:57 mx a b postfix/smtpd[1]: x", "", "", "", time.Time{}},
		{"", "", "", "", time.Time{}},
		{"\x00\xff", "", "", "", time.Time{}},
	}
	for _, tt := range tests {
		p, ok := parsePostfix(tt.line, now)
		if ok != (tt.daemon != "") || ok && (p.daemon != tt.daemon || p.queue != tt.queue || p.text != tt.text || !p.at.Equal(tt.at)) {
			t.Errorf("%s: %+v %v", tt.line, p, ok)
		}
	}
}

// The forms of Postfix 3.7: cleanup(8) for milters and header checks, smtpd(8) for
// access tables, postsuper(1).
func TestPostfixHold(t *testing.T) {
	const head = "Nov 21 08:46:57 mx postfix/"
	tests := []struct {
		line string
		want postfixHold
	}{
		{
			"cleanup[1]: 0F2FD9D86EA: milter-hold: END-OF-MESSAGE from localhost[127.0.0.1]: milter triggers HOLD action; from=<a@tocsin.test> to=<b@tocsin.test> proto=ESMTP helo=<vm>",
			postfixHold{"0F2FD9D86EA", "a@tocsin.test", "b@tocsin.test", "", "milter triggers HOLD action", "localhost[127.0.0.1]"},
		},
		{
			"cleanup[1]: 0F2FD9D86EA: hold: header Subject: win; from=<x@y> from me from evil[192.0.2.1]; from=<> to=<b@t> proto=ESMTP helo=<h>: looks like a lottery",
			postfixHold{"0F2FD9D86EA", "", "b@t", "win; from=<x@y> from me", "looks like a lottery", "evil[192.0.2.1]"},
		},
		{
			"smtpd[1]: NOQUEUE: hold: RCPT from unknown[2001:db8::1]: <b@t>: Recipient address triggers HOLD action; from=<a@t> to=<b@t> proto=ESMTP helo=<h>",
			postfixHold{"", "a@t", "b@t", "", "<b@t>: Recipient address triggers HOLD action", "unknown[2001:db8::1]"},
		},
		{"postsuper[1]: 0F2FD9D86EA: placed on hold", postfixHold{queue: "0F2FD9D86EA", reason: "put on hold by an administrator"}},
	}
	for _, tt := range tests {
		p, _ := parsePostfix(head+tt.line, time.Now())
		got, ok := p.hold()
		if !ok {
			t.Errorf("%s: no hold", tt.line)
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(postfixHold{})); diff != "" {
			t.Errorf("%s: %s", tt.line, diff)
		}
	}
	for _, line := range []string{
		"cleanup[1]: 0F2FD9D86EA: message-id=<hold: x>", "postsuper[1]: 0F2FD9D86EA: released from hold", "smtpd[1]: warning: hold: x", "cleanup[1]: 0F2FD9D86EA: warning: hold: x",
		"smtpd[1]: connect from hold[1.2.3.4]", "qmgr[1]: 0F2FD9D86EA: from=<milter-hold: x>, size=1",
	} {
		p, _ := parsePostfix(head+line, time.Now())
		if h, ok := p.hold(); ok {
			t.Errorf("%s: %+v", line, h)
		}
	}
}

func TestPostfixThrottled(t *testing.T) {
	const head = "Nov 21 08:46:57 mx postfix/smtpd[1]: warning: "
	for line, want := range map[string]string{
		"Message delivery request rate limit exceeded: 9 from localhost[127.0.0.1] for service 127.0.0.1:10025": "127.0.0.1 Message delivery request rate",
		"Connection rate limit exceeded: 31 from unknown[2001:db8::7] for service smtp":                         "2001:db8::7 Connection rate",
		"Connection concurrency limit exceeded: 51 from mx.example[192.0.2.7] for service smtp":                 "192.0.2.7 Connection concurrency",
		"New TLS session rate limit exceeded: 5 from a[192.0.2.7] for service smtp":                             "192.0.2.7 New TLS session rate",
		"hostname x limit exceeded: 9 from localhost[127.0.0.1]":                                                "",
		"Message delivery request rate limit exceeded: nine from localhost[127.0.0.1]":                          "",
		"something rate limit exceeded: 9":                                                                      "",
	} {
		p, _ := parsePostfix(head+line, time.Now())
		client, limit, ok := p.throttled()
		if got := strings.TrimSpace(client + " " + limit); got != want && ok || ok != (want != "") {
			t.Errorf("%s: %q %v", line, got, ok)
		}
	}
}

// stamp is the beginning of a line that is written now.
func stamp(daemon string) string {
	return time.Now().Format("Jan _2 15:04:05") + " mx postfix/" + daemon + "[7]: "
}

func quarantineOn(b *mailbench) *quarantine {
	b.t.Helper()
	s, err := newQuarantine(quarantineOptions{Enabled: true, Logs: []string{b.path}})
	if err != nil {
		b.t.Fatal(err)
	}
	return s.(*quarantine)
}

// A message on hold is told once with what log and queue know, over a restart and
// a rotation; one that rspamd has told is not told again.
func TestQuarantine(t *testing.T) {
	b := newMailbench(t)
	q := quarantineOn(b)
	q.queue = func(_ context.Context, ids []string) (map[string]queued, error) {
		if slices.Contains(ids, "0F2FD9D86EA") {
			return map[string]queued{"0F2FD9D86EA": {"a@tocsin.test", []string{"b@tocsin.test", "c@tocsin.test"}, 428}}, nil
		}
		return nil, nil
	}
	hold := func(id string) string {
		return stamp("cleanup") + id + ": milter-hold: END-OF-MESSAGE from localhost[127.0.0.1]: milter triggers HOLD action; from=<a@tocsin.test> to=<b@tocsin.test> proto=ESMTP helo=<vm>"
	}
	b.running(q, func() {
		b.until("the lack of a log", b.is(Unavailable))
		if !strings.Contains(b.lacks, "maillog_file") {
			t.Errorf("lacks %q", b.lacks)
		}
		b.write(hold("0F2FD9D86EA"), stamp("cleanup")+"0F2FD9D86EA: message-id=<m1@tocsin.test>", "garbage \x00\xff\xfe")
		b.until("the first", func() bool { return len(b.told("mail_quarantined")) == 1 })
		b.until("running", b.is(Running))
	})
	e := b.told("mail_quarantined")[0]
	const fields = `"0F2FD9D86EA" "m1@tocsin.test" "a@tocsin.test" ["b@tocsin.test","c@tocsin.test"] "milter triggers HOLD action" "postfix" "127.0.0.1" 428`
	if got := dataOf(t, e, "queue_id", "message_id", "sender", "recipients", "reason", "mta", "client_ip", "size"); got != fields || e.Subject != "message/0F2FD9D86EA" || e.Severity != event.Notice {
		t.Errorf("%s %s: %s", e.Subject, e.Severity, got)
	}
	before := b.stored["state"]
	b.write(hold("1F2FD9D86EA")) // while nobody reads
	if err := os.Rename(b.path, b.path+".1"); err != nil {
		t.Fatal(err)
	}
	b.write(hold("2F2FD9D86EA"))
	in := inlet(t, "rspamd", "")
	body := strings.ReplaceAll(rspamdVirus, "0F2FD9D86EA", "3F2FD9D86EA")
	events, err := receive(in, body, nil)
	if err != nil {
		t.Fatal(err)
	}
	events[0].Time = time.Now()
	b.add(events...)
	b.running(quarantineOn(b), func() {
		b.write(hold("3F2FD9D86EA"), stamp("postsuper")+"4F2FD9D86EA: placed on hold")
		b.until("the others", func() bool { return len(b.told("mail_quarantined")) >= 5 })
	})
	var got []string
	for _, e := range b.told("mail_quarantined") {
		got = append(got, dataOf(t, e, "queue_id", "mta"))
	}
	slices.Sort(got)
	want := []string{`"0F2FD9D86EA" "postfix"`, `"1F2FD9D86EA" "postfix"`, `"2F2FD9D86EA" "postfix"`, `"3F2FD9D86EA" "rspamd"`, `"4F2FD9D86EA" "postfix"`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Killed before its place was stored, it reads lines again, and tells nothing again.
	b.stored["state"], b.stored["flood"] = before, ""
	q = quarantineOn(b)
	b.running(q, func() {
		b.until("all is read again", func() bool { return q.through(t) })
	})
	if n := len(b.told("mail_quarantined")); n != 5 {
		t.Errorf("%d events after that, want 5", n)
	}
}

// through tells whether all that was written is read and told.
func (q *quarantine) through(t *testing.T) bool {
	t.Helper()
	info, err := os.Stat(q.Logs[0])
	if err != nil {
		t.Fatal(err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.state.Held) == 0 && strings.Contains(q.state.Place, fmt.Sprintf(`"offset":%d,`, info.Size()))
}

// Ten thousand messages within a second are folded, and the state is small.
func TestQuarantineFlood(t *testing.T) {
	b := newMailbench(t)
	b.write("nothing")
	var lines []string
	for n := range 10_000 {
		lines = append(lines, stamp("cleanup")+fmt.Sprintf("%011X: hold: header Subject: x from a[192.0.2.1]; from=<a@t> to=<b@t> proto=ESMTP helo=<h>", 0xF0000000+n))
	}
	q := quarantineOn(b)
	b.running(q, func() {
		b.until("running", b.is(Running))
		b.write(lines...)
		b.until("all of them", func() bool { return q.through(t) && len(b.told("mail_quarantined")) == mailBurst })
	})
	if want := fmt.Sprintf(`"count":%d`, 10_000-mailBurst); !strings.Contains(b.stored["flood"], want) {
		t.Errorf("%s is not in %s", want, b.stored["flood"])
	}
	if n := len(b.told("mail_quarantined")); n != mailBurst {
		t.Errorf("%d events", n)
	}
	if b.stores > 100 || len(b.stored["state"]) > 100_000 {
		t.Errorf("%d stores, %d bytes", b.stores, len(b.stored["state"]))
	}
}

// What postqueue -j prints, and what it does not.
func TestReadQueue(t *testing.T) {
	const out = `{"queue_name": "hold", "queue_id": "0F2FD9D86EA", "arrival_time": 1795250817, "message_size": 428, "forced_expire": false, "sender": "a@t", "recipients": [{"address": "b@t"},{"address": "c\u0000@t", "delay_reason": "x"}]}
garbage
{"queue_id": 7}
{"queue_id": "1F2FD9D86EA", "sender": "x"}
`
	got, err := readQueue(strings.NewReader(out), []string{"0F2FD9D86EA", "7"})
	if diff := cmp.Diff(map[string]queued{"0F2FD9D86EA": {"a@t", []string{"b@t", "c@t"}, 428}}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := readQueue(strings.NewReader(strings.Repeat("x", longestEntry+1)), nil); err == nil {
		t.Error("an endless line is read")
	}
}

// A postqueue that fails, hangs or is absent takes nothing away from the log.
func TestPostqueueFaults(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct{ program, says string }{
		{"", ""},
		{filepath.Join(dir, "absent"), ""},
		{script("fails", "echo no queue here >&2; exit 69"), "no queue here"},
		{script("talks", `yes '{"queue_id":"x"}' | head -c 3000000`), ""},
		{script("good", `[ "$*" = "-j" ] && echo '{"queue_id":"AAAAA1","sender":"s"}'`), ""},
	} {
		q := &quarantine{quarantineOptions: quarantineOptions{Postqueue: tt.program}}
		found, err := q.postqueue(t.Context(), []string{"AAAAA1"})
		if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%s: %v, want %q in it", tt.program, err, tt.says)
		}
		if want := strings.HasSuffix(tt.program, "good"); want != (found["AAAAA1"].Sender == "s") {
			t.Errorf("%s: %v", tt.program, found)
		}
	}
}
