package e2e

import (
	"context"
	"errors"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mailHost is a real Postfix with rspamd as its milter, whose virus scanner is a real
// clamd, and which sends what it does to a server.
type mailHost struct {
	t        *testing.T
	dir      string
	smtp     string
	replaces *strings.Replacer
}

const exporterPassword = "password-of-the-exporter"

func newMailHost(t *testing.T, s *server, dir, clamd string) *mailHost {
	t.Helper()
	for _, name := range []string{"postfix", "rspamd", "redis-server"} {
		tool(t, name)
	}
	m := &mailHost{t: t, dir: dir, smtp: freeAddress(t)}
	milter, redis := freeAddress(t), freeAddress(t)
	m.replaces = strings.NewReplacer("@DIR@", dir, "@SMTP@", m.smtp, "@MILTER@", milter, "@CLAMD@", clamd, "@REDIS@", redis,
		"@CONTROLLER@", freeAddress(t), "@TOCSIN@", s.url, "@SECRET@", exporterPassword)
	_, port, err := net.SplitHostPort(redis)
	if err != nil {
		t.Fatal(err)
	}
	m.run("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "")
	m.rspamd(milter)
	m.postfix()
	return m
}

// read is a file of testdata/mail for this host.
func (m *mailHost) read(name string) string {
	m.t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "mail", name))
	if err != nil {
		m.t.Fatal(err)
	}
	return m.replaces.Replace(string(raw))
}

// sections writes the files that a file of testdata/mail is made of.
func (m *mailHost) sections(name, folder string) {
	m.t.Helper()
	shell(m.t, nil, "mkdir", "-p", folder)
	_, all, _ := strings.Cut(m.read(name), "\n== ")
	for section := range strings.SplitSeq(all, "\n== ") {
		file, content, _ := strings.Cut(section, "\n")
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
}

// run runs a program until the test ends.
func (m *mailHost) run(name string, args ...string) {
	m.t.Helper()
	var said buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &said, &said, m.dir
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // rspamd ends its workers
		_ = cmd.Wait()
		if m.t.Failed() {
			m.t.Logf("%s: %s", name, said.String())
		}
	})
}

func (m *mailHost) rspamd(milter string) {
	m.t.Helper()
	conf := filepath.Join(m.dir, "rspamd")
	m.sections("rspamd.local", filepath.Join(conf, "local.d"))
	override := filepath.Join(conf, "override.d")
	m.sections("rspamd.override", override)
	for name := range strings.FieldsSeq("arc asn bayes_expiry chartable dkim dkim_signing dmarc fuzzy_check greylist hfilter history_redis mid multimap mx_check " +
		"neural phishing rbl replies reputation spf surbl url_redirector whitelist") {
		writeFile(m.t, override, name+".conf", "enabled = false;\n")
	}
	shell(m.t, nil, "chown", "-R", "_rspamd", conf)
	m.run("rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", "/etc/rspamd/rspamd.conf", "--var=LOCAL_CONFDIR="+conf, "--var=DBDIR="+conf, "--var=RUNDIR="+conf, "--var=LOGDIR="+conf)
	eventually(m.t, "rspamd listens", func() bool { return listens("tcp", milter) })
}

func (m *mailHost) postfix() {
	m.t.Helper()
	etc := filepath.Join(m.dir, "etc")
	shell(m.t, nil, "sh", "-c", `mkdir "$1/etc" "$1/queue" "$1/data" && chown postfix "$1/data"`, "sh", m.dir)
	for _, name := range []string{"main.cf", "master.cf", "header_checks"} {
		writeFile(m.t, etc, name, m.read(name))
	}
	shell(m.t, nil, "chmod", "-R", "a+rX", etc)
	shell(m.t, nil, "postfix", "-c", etc, "start")
	m.t.Cleanup(func() {
		// The test's context has ended.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "postfix", "-c", etc, "stop").CombinedOutput(); err != nil {
			m.t.Errorf("postfix stop: %v: %s", err, out)
		}
		if m.t.Failed() {
			log, _ := os.ReadFile(filepath.Join(m.dir, "mail.log"))
			m.t.Logf("mail.log: %s", log)
		}
	})
	eventually(m.t, "Postfix listens", func() bool { return listens("tcp", m.smtp) })
}

// listens tells whether somebody takes connections.
func listens(network, address string) bool {
	conn, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// send sends a message, and returns what Postfix thinks of it.
func (m *mailHost) send(from, id, subject, body string, to ...string) error {
	m.t.Helper()
	c, err := smtp.Dial(m.smtp)
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.Hello("client.tocsin.test"), c.Mail(from)); err != nil {
		return err
	}
	for _, one := range to {
		if err := c.Rcpt(one); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	_, err = w.Write([]byte("From: " + from + "\r\nTo: " + to[0] + "\r\nSubject: " + subject + "\r\nMessage-ID: <" + id + ">\r\nDate: " + time.Now().Format(time.RFC1123Z) + "\r\n\r\n" + body + "\r\n"))
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	return c.Quit()
}

// Real mail: a virus that rspamd lets Postfix put on hold, told once by both; a
// message that a header rule holds; a sender that goes beyond rspamd's limit, and a
// client that goes beyond Postfix's.
func TestHostMail(t *testing.T) {
	t.Parallel()
	dir := openFolder(t)
	clamd := startClamd(t, dir, "")
	secret := writeFile(t, t.TempDir(), "secret", exporterPassword+"\n")
	log, etc := filepath.Join(dir, "mail.log"), filepath.Join(dir, "etc")
	s := start(t, "sources:", "  rspamd: {secret_file: "+secret+"}", "  mail_quarantined: {logs: ["+log+"], postfix_config: "+etc+", grace: 1s}",
		"  mail_throttle_suspended: {logs: ["+log+"], interval: 1s, limit: 3, window: 10m, suspend_for: 30m}")
	m := newMailHost(t, s, dir, clamd)
	found := func(filter string) []object { return s.find("filter", filter).Events }
	eventually(t, "the mail log", func() bool {
		return s.source("mail_quarantined")["status"] == "running" && s.source("mail_throttle_suspended")["status"] == "running"
	})

	began := time.Now()
	if err := m.send("a@tocsin.test", "virus@client", "bad", malwareMarker, "b@tocsin.test", "c@tocsin.test"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the virus", func() bool { return len(found(`type == "mail_quarantined"`)) > 0 })
	virus := found(`type == "mail_quarantined"`)[0]
	want := object{
		"message_id": "virus@client", "sender": "a@tocsin.test", "recipients": []any{"b@tocsin.test", "c@tocsin.test"}, "subject": "bad", "mta": "rspamd",
		"reason": "a scanner has found " + malwareName, "signature": malwareName, "action": "reject", "client_ip": "127.0.0.1",
	}
	for name, value := range want {
		if got := dig(virus, "data."+name); jsonOf(t, got) != jsonOf(t, value) {
			t.Errorf("virus: %s is %v, want %v", name, got, value)
		}
	}
	queue := text(dig(virus, "data.queue_id"))
	if virus["subject"] != "message/"+queue || virus["severitytext"] != "notice" || virus["kind"] != "host" || dig(virus, "data.score") == nil {
		t.Errorf("%v", virus)
	}
	if held := shell(t, nil, "postqueue", "-c", etc, "-j"); !strings.Contains(held, `"queue_id": "`+queue+`"`) || !strings.Contains(held, `"queue_name": "hold"`) {
		t.Errorf("the queue has %s", held)
	}

	if err := m.send("x@tocsin.test", "lottery@client", "lottery; from=<nobody@example.org>", "you win", "b@tocsin.test", "d@tocsin.test"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lottery", func() bool { return len(found(`type == "mail_quarantined" && data.mta == "postfix"`)) > 0 })
	lottery := found(`type == "mail_quarantined" && data.mta == "postfix"`)[0]
	want = object{
		"message_id": "lottery@client", "sender": "x@tocsin.test", "recipients": []any{"b@tocsin.test", "d@tocsin.test"}, "reason": "looks like a lottery",
		"subject": "lottery; from=<nobody@example.org>", "client_ip": "127.0.0.1",
	}
	for name, value := range want {
		if got := dig(lottery, "data."+name); jsonOf(t, got) != jsonOf(t, value) {
			t.Errorf("lottery: %s is %v, want %v", name, got, value)
		}
	}
	if number(t, dig(lottery, "data.size")) < 100 || text(dig(lottery, "data.queue_id")) == "" {
		t.Errorf("%v", lottery)
	}
	if at, err := time.Parse(time.RFC3339, text(lottery["time"])); err != nil || at.Before(began.Add(-2*time.Second)) || at.After(time.Now()) {
		t.Errorf("time %v, began %v", lottery["time"], began)
	}

	for range 6 {
		_ = m.send("loud@tocsin.test", "loud@client", "hello", "hello", "b@tocsin.test") // refused from the fourth on
	}
	suspended := func(mta string) []object {
		return found(`type == "mail_throttle_suspended" && data.mta == "` + mta + `"`)
	}
	eventually(t, "the loud sender", func() bool { return len(suspended("rspamd")) > 0 })
	for range 20 {
		_ = m.send("many@tocsin.test", "many@client", "hello", "hello", "b@tocsin.test")
	}
	eventually(t, "the loud client", func() bool { return len(suspended("postfix")) > 0 })
	for mta, sender := range map[string]string{"rspamd": "loud@tocsin.test", "postfix": "127.0.0.1"} {
		all := found(`type == "mail_throttle_suspended" && data.mta == "` + mta + `" && data.sender == "` + sender + `"`)
		if len(all) != 1 {
			t.Errorf("%s: %v", mta, suspended(mta))
			continue
		}
		e := all[0]
		until, err := time.Parse(time.RFC3339, text(dig(e, "data.suspended_until")))
		if number(t, dig(e, "data.hits")) != 3 || number(t, dig(e, "data.limit")) != 3 || dig(e, "data.window") != "10m" || e["severitytext"] != "warn" || e["subject"] != "sender/"+sender ||
			err != nil || until.Before(began.Add(29*time.Minute)) || until.After(time.Now().Add(30*time.Minute)) {
			t.Errorf("%s: %v", mta, e)
		}
	}
	// The hold line of the virus was read long ago, and is not told a second time.
	if all := found(`type == "mail_quarantined"`); len(all) != 2 {
		t.Errorf("%d messages in quarantine: %v", len(all), all)
	}
	for _, name := range []string{"rspamd", "mail_quarantined", "mail_throttle_suspended"} {
		if row := s.source(name); row["last_error"] != "" || row["status"] != "running" {
			t.Errorf("%s: %v", name, row)
		}
	}
	searchFolder(t, s.data, exporterPassword)
}
