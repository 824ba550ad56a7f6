package source

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// What rspamd 3.4 has sent for a message with a virus, and for one beyond a limit.
const (
	rspamdVirus = `{"rcpt":["b@tocsin.test"],"action":"reject","from":"a@tocsin.test","fuzzy":[],"user":"unknown","score":0.400000,"message_id":"20261121084657.001484@vm","subject":"bad","qid":"0F2FD9D86EA","rspamd_server":"vm","symbols":[{"groups":["headers"],"group":"headers","name":"FROM_NO_DN","score":0},{"groups":["antivirus"],"group":"antivirus","options":["Tocsin.Test.Marker.UNOFFICIAL"],"name":"CLAM_VIRUS","score":0}],"header_to":["b@tocsin.test"],"header_subject":["bad"],"ip":"127.0.0.1","header_from":["a@tocsin.test"],"scan_time":4}`
	rspamdLimit = `{"rcpt":["b@tocsin.test"],"action":"soft reject","from":"a@tocsin.test","fuzzy":[],"user":"bob","score":0,"message_id":"ok4@tocsin.test","subject":"bad","qid":"QR4","rspamd_server":"vm","symbols":[{"groups":[],"group":"ungrouped","options":["by_user(RLpso)"],"name":"R_RATELIMIT_INFO","score":0}],"header_to":["b@tocsin.test"],"ip":"192.0.2.7","scan_time":0}`
)

func TestRspamd(t *testing.T) {
	in := inlet(t, "rspamd", "secret_file: SECRET")
	auth := headers("Authorization", "Basic dG9jc2luOkl0J3MgYSBTZWNyZXQgdG8gRXZlcnlib2R5") // tocsin:testSecret
	tests := []struct{ body, want string }{
		{rspamdVirus, `mail_quarantined | notice | message/0F2FD9D86EA | rspamd | 127.0.0.1 | {"action":"reject","client_ip":"127.0.0.1","message_id":"20261121084657.001484@vm","mta":"rspamd","queue_id":"0F2FD9D86EA","reason":"a scanner has found Tocsin.Test.Marker.UNOFFICIAL","recipients":["b@tocsin.test"],"score":0.4,"sender":"a@tocsin.test","server":"vm","signature":"Tocsin.Test.Marker.UNOFFICIAL","subject":"bad","symbols":["FROM_NO_DN","CLAM_VIRUS"]}`},
		{rspamdLimit, `rspamd.ratelimit | info | message/QR4 | rspamd | 192.0.2.7 | {"action":"soft reject","client_ip":"192.0.2.7","limit":"by_user(RLpso)","message_id":"ok4@tocsin.test","mta":"rspamd","queue_id":"QR4","recipients":["b@tocsin.test"],"score":0,"sender":"bob","server":"vm","subject":"bad","symbols":["R_RATELIMIT_INFO"],"user":"bob"}`},
		{`{"action":"add header","score":7.5,"qid":"unknown","message_id":"undef"}`, `rspamd.add_header | info | rspamd | rspamd |  | {"action":"add header","mta":"rspamd","score":7.5}`},
		{`{"action":"quarantine","score":16,"symbols":"x","rcpt":[7,"a\u0000@b"],"ip":"?"}`, `mail_quarantined | notice | rspamd | rspamd |  | {"action":"quarantine","client_ip":"?","mta":"rspamd","reason":"rspamd: quarantine, score 16","recipients":["a@b"],"score":16}`},
		{`{"action":"no action","score":1}`, ""},
	}
	for _, tt := range tests {
		events, err := receive(in, tt.body, auth)
		got := ""
		if len(events) > 0 {
			got = line(events[0])
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Error(err, diff)
		}
	}
	for _, body := range []string{``, `[]`, `{}`, `{"action":7}`, `{"action":""}`, `{"action":"\u0000"}`, `{"action":"a","action":"b"}`, strings.Repeat("[", 100_000)} {
		if _, err := receive(in, body, auth); err == nil || !strings.Contains(err.Error(), "body") && !strings.Contains(err.Error(), "action") {
			t.Errorf("%.40s: %v", body, err)
		}
	}
	_, err := receive(in, rspamdLimit, nil)
	wantRefused(t, "no password", err, true)
	_, err = receive(in, rspamdLimit, headers("Authorization", "Basic dG9jc2luOng="))
	wantRefused(t, "a wrong password", err, false)
}

func FuzzRspamd(f *testing.F) {
	f.Add(rspamdVirus)
	f.Add(rspamdLimit)
	fuzzDecode(f, "rspamd", nil, false)
}

func FuzzPostfix(f *testing.F) {
	f.Add("Nov 21 08:46:57 mx postfix/cleanup[1]: 0F2FD9D86EA: milter-hold: END-OF-MESSAGE from l[127.0.0.1]: m; from=<a> to=<b> proto=ESMTP helo=<vm>")
	f.Add("2026-11-21T08:46:57Z mx postfix/smtpd[1]: warning: Connection rate limit exceeded: 9 from l[::1] for service smtp")
	f.Fuzz(func(t *testing.T, line string) {
		p, ok := parsePostfix(line, time.Now())
		if !ok {
			return
		}
		h, ok := p.hold()
		if ok && (h.queue == noQueue || len(h.sender)+len(h.recipient)+len(h.reason) > 3*len(line)) {
			t.Errorf("%+v", h)
		}
		if client, _, ok := p.throttled(); ok && client == "" && !strings.Contains(line, "[]") {
			t.Errorf("%q: throttled is nobody", line)
		}
	})
}

func throttleOn(b *mailbench, change func(*throttleOptions)) *throttle {
	b.t.Helper()
	o := throttleOptions{Enabled: true, Logs: []string{b.path}, Interval: config.Duration(time.Second), Limit: 3, Window: config.Duration(time.Hour), SuspendFor: config.Duration(2 * time.Hour)}
	if change != nil {
		change(&o)
	}
	s, err := newThrottle(o)
	if err != nil {
		b.t.Fatal(err)
	}
	return s.(*throttle)
}

// The window slides, one event a suspension, and after it everything begins anew.
func TestThrottleWindow(t *testing.T) {
	r := newRecorder(map[string]string{})
	b := newMailbench(t)
	x := throttleOn(b, nil)
	x.state.Senders = map[string]*throttled{}
	base := time.Now().Add(-24 * time.Hour).Truncate(time.Millisecond)
	steps := []struct {
		at   time.Duration
		want bool
	}{
		{0, false},
		{30 * time.Minute, false},
		{61 * time.Minute, false}, // the first is out of the window
		{62 * time.Minute, true},
		{63 * time.Minute, false},
		{64 * time.Minute, false},
		{65 * time.Minute, false},
		{180 * time.Minute, false}, // suspended
		{182 * time.Minute, false},
		{183 * time.Minute, false},
		{184 * time.Minute, true},
	}
	for n, s := range steps {
		at := base.Add(s.at)
		if err := x.hit(t.Context(), &r.Env, hit{"postfix", "192.0.2.1", "Connection rate", at, strconv.Itoa(n)}); err != nil {
			t.Fatal(err)
		}
		var want []string
		if s.want {
			want = []string{`mail_throttle_suspended warn sender/192.0.2.1 "192.0.2.1" 3 "1h" 3 "` + at.Add(2*time.Hour).UTC().Format(time.RFC3339) + `" "postfix"`}
		}
		if diff := cmp.Diff(want, r.told(t, "sender", "hits", "window", "limit", "suspended_until", "mta")); diff != "" {
			t.Errorf("%s: %s", s.at, diff)
		}
	}
}

// Hits of the log and of the journal are counted over restarts, each sender apart;
// a crash before the counts are stored tells nothing twice.
func TestThrottle(t *testing.T) {
	b := newMailbench(t)
	b.write("nothing")
	n := 0
	hits := func(client string) string {
		n++
		return stamp("smtpd") + fmt.Sprintf("warning: Message delivery request rate limit exceeded: %d from localhost[%s] for service smtp", n, client)
	}
	sent := func(t event.Type, data string) {
		n++
		b.add(event.Event{ID: event.ID(fmt.Sprint("id-", n)), Type: t, Time: time.Now(), Data: json.RawMessage(data)})
	}
	told := func() (all []string) {
		for _, e := range b.told("mail_throttle_suspended") {
			all = append(all, dataOf(t, e, "sender", "hits", "mta"))
		}
		return all
	}
	x := throttleOn(b, func(o *throttleOptions) { o.Exempt = []string{"192.0.2.9"} })
	b.running(x, func() {
		b.until("running", b.is(Running))
		b.write(hits("192.0.2.1"), hits("192.0.2.1"), hits("192.0.2.2"), hits("192.0.2.9"), hits("192.0.2.9"), hits("192.0.2.9"))
		sent("rspamd.ratelimit", `{"sender":"bob","limit":"by_user"}`)
		sent("rspamd.ratelimit", `{"sender":"bob","limit":"by_user"}`)
		sent("rspamd.ratelimit", `[7]`)
		sent("stalwart.smtp.rate-limit-exceeded", `{"accountName":"ann","remoteIp":"192.0.2.3"}`)
		b.until("all are counted", func() bool {
			x.mu.Lock()
			defer x.mu.Unlock()
			return len(x.state.Senders) == 4
		})
	})
	if got := told(); got != nil {
		t.Errorf("told %v", got)
	}
	before := b.stored["state"]
	again := func() {
		b.running(throttleOn(b, nil), func() {
			b.until("three", func() bool { return len(told()) == 3 })
			b.until("the rest", func() bool { return b.tried() >= 3 })
		})
	}
	b.write(hits("192.0.2.1"), hits("192.0.2.2"), hits("192.0.2.1"))
	sent("rspamd.ratelimit", `{"sender":"bob","limit":"by_user"}`)
	sent("stalwart.smtp.rate-limit-exceeded", `{"accountName":"ann"}`)
	sent("stalwart.limit.too-many-requests", `{"accountName":"ann"}`)
	again()
	b.stored["state"] = before // killed, before it was stored
	again()
	want := map[string]bool{`"192.0.2.1" 3 "postfix"`: true, `"bob" 3 "rspamd"`: true, `"ann" 3 "stalwart"`: true}
	for _, one := range told() {
		if !want[one] {
			t.Errorf("told %s", one)
		}
		delete(want, one)
	}
	if len(want) != 0 {
		t.Errorf("not told: %v", want)
	}
}

// A hundred thousand senders fill no memory, and one of them that hits on is found.
func TestThrottleBounded(t *testing.T) {
	r := newRecorder(map[string]string{})
	x := throttleOn(newMailbench(t), func(o *throttleOptions) { o.Limit = 50 })
	x.state.Senders = map[string]*throttled{}
	base := time.Now().Add(-time.Minute)
	for n := range 100_000 {
		sender := fmt.Sprint("s", n)
		if n%2000 == 0 {
			sender = "loud"
		}
		if err := x.hit(t.Context(), &r.Env, hit{"rspamd", sender, "", base.Add(time.Duration(n) * 100 * time.Microsecond), strconv.Itoa(n)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.told(t, "sender"); len(got) != 1 || len(x.state.Senders) > mostSenders {
		t.Errorf("%v told, %d senders are kept", got, len(x.state.Senders))
	}
	if err := x.save(t.Context(), &r.Env, true); err != nil || len(r.stored["state"]) > 2<<20 {
		t.Errorf("%d bytes are stored, %v", len(r.stored["state"]), err)
	}
	// Of a clock that was far ahead: nobody is suspended for ever.
	x.state.Senders["rspamd ahead"] = &throttled{Until: time.Now().AddDate(10, 0, 0).UnixMilli()}
	for n := range 50 {
		if err := x.hit(t.Context(), &r.Env, hit{"rspamd", "ahead", "", time.Now().AddDate(1, 0, 0), fmt.Sprint("f", n)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.told(t, "sender"); len(got) != 1 || r.status != "" {
		t.Errorf("%v", got)
	}
}

func TestMailOptions(t *testing.T) {
	for text, want := range map[string]string{
		"mail_quarantined: {grace: 2m}": "grace", "mail_quarantined: {logs: [relative]}": "logs", "mail_quarantined: {logs: ['/a[']}": "logs",
		"mail_throttle_suspended: {limit: 0}": "limit", "mail_throttle_suspended: {window: 1ms}": "window", "mail_throttle_suspended: {interval: 1ms}": "interval",
		"mail_throttle_suspended: {suspend_for: -1s}": "suspend_for", "mail_throttle_suspended: {logs: [x]}": "logs", "rspamd: {ratelimit: ''}": "ratelimit",
	} {
		if _, err := Open(parseOptions(t, "{"+text+"}"), newRecorder(nil).Env, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", text, err, want)
		}
	}
}

// mailRecords is a journal that has some records, and then nothing more.
type mailRecords struct {
	journal
	absent error
	has    []record
	from   []string
}

func (m *mailRecords) ready() error { return m.absent }

func (m *mailRecords) follow(ctx context.Context, from string, _ []string, give func(*record) error) error {
	m.from = append(m.from, from)
	for i := range m.has {
		if err := give(&m.has[i]); err != nil {
			return err
		}
	}
	m.has = nil
	<-ctx.Done()
	return nil
}

// Where Postfix writes into systemd's journal alone, it is read there; what others
// write in its name is not believed.
func TestMailJournal(t *testing.T) {
	b := newMailbench(t)
	say := func(n int, uid, comm, text string) record {
		at := field(strconv.FormatInt(time.Now().UnixMicro()+int64(n), 10))
		return record{Cursor: field("s=1;i=" + strconv.Itoa(n)), Realtime: at, UID: field(uid), Comm: field(comm), Message: field(text)}
	}
	const limit, hold = "warning: Connection rate limit exceeded: 9 from x[192.0.2.1] for service smtp", "0F2FD9D86EA: hold: header Subject: x from a[192.0.2.1]; from=<a@t> to=<b@t> proto=ESMTP helo=<h>"
	all := []record{
		say(1, "0", "smtpd", limit), say(2, "0", "smtpd", limit), say(3, "12345", "smtpd", limit), say(4, "0", "sh", limit),
		say(5, "0", "cleanup", hold), say(6, "12345", "cleanup", strings.Replace(hold, "0F", "1F", 1)),
	}
	x := throttleOn(b, func(o *throttleOptions) { o.Limit = 2 })
	j := &mailRecords{has: slices.Clone(all)}
	x.journal = j
	b.running(x, func() {
		b.until("the suspension", func() bool { return len(b.told("mail_throttle_suspended")) == 1 })
		b.until("running", b.is(Running))
	})
	if len(j.from) != 1 || !strings.HasPrefix(j.from[0], "@") || !strings.Contains(b.stored["state"], "s=1;i=") {
		t.Errorf("from %q, stored %s", j.from, b.stored["state"])
	}
	b.stored = map[string]string{"state": `{"place":"{\"/var/log/mail.log\":{}}"}`} // of logs
	q := quarantineOn(b)
	q.journal = &mailRecords{has: all}
	b.running(q, func() { b.until("the message", func() bool { return len(b.told("mail_quarantined")) == 1 }) })
	if e := b.told("mail_quarantined")[0]; dataOf(t, e, "queue_id", "subject") != `"0F2FD9D86EA" "x"` {
		t.Errorf("%s", e.Data)
	}
	q = quarantineOn(b)
	q.journal = &mailRecords{absent: &absentError{"there is no journal"}}
	b.running(q, func() { b.until("the lack of it", b.is(Unavailable)) })
}
