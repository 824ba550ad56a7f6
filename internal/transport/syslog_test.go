package transport

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/tocsin-events/tocsin/internal/event"
)

// parse5424 reads a message with a strict parser that is not ours.
func parse5424(t *testing.T, frame []byte) *rfc5424.SyslogMessage {
	t.Helper()
	parsed, err := rfc5424.NewParser().Parse(frame)
	if err != nil {
		t.Fatalf("%q: %v", frame, err)
	}
	return parsed.(*rfc5424.SyslogMessage)
}

// What a strict parser reads is what was said, whatever that was.
func FuzzSyslog(f *testing.F) {
	f.Add("web1", "disk_full", "x", 2048)
	f.Add(hostile, hostile, hostile, 480)
	f.Add(`a"]\`, "", `]"\`, 600)
	f.Add("\xff\xfe", " ", "\ufeff", 1000)
	f.Fuzz(func(t *testing.T, host, kind, text string, most int) {
		most = 480 + int(uint(most)%8192)
		m := newMessage(t)
		m.Event.Host, m.Event.Type, m.Event.Subject, m.Text, m.Rule = host, event.Type(kind), text, text, host
		tr := &syslogger{env: &Env{Host: "here"}, s: syslogSettings{AppName: "tocsin", Format: "text"}, facility: 16}
		s := tr.message(m)
		frame := s.encode(most)
		got := parse5424(t, frame)
		if len(frame) > most || !utf8.Valid(frame) || bytes.ContainsAny(frame, "\n\r\x00\x1b") {
			t.Fatalf("%d of %d bytes: %q", len(frame), most, frame)
		}
		if *got.Priority != 16*8+3 || got.Version != 1 || !got.Timestamp.Equal(m.Event.Time.Truncate(time.Microsecond)) || *got.Appname != "tocsin" || got.ProcID != nil {
			t.Fatalf("head: %+v", got)
		}
		params := (*got.StructuredData)[sdID]
		for name, value := range params {
			found := false
			for _, p := range s.params {
				found = found || p.name == name && p.value == value
			}
			if !found {
				t.Fatalf("parameter %s=%q was never said: %v", name, value, s.params)
			}
		}
		if most > 4096 && len(params) != len(s.params) {
			t.Fatalf("%d of %d parameters in %d bytes", len(params), len(s.params), most)
		}
		message := ""
		if got.Message != nil {
			message = strings.TrimPrefix(*got.Message, "\ufeff")
		}
		whole := oneLine(text)
		begins := strings.HasSuffix(message, ellipsis) && strings.HasPrefix(whole, strings.TrimSuffix(message, ellipsis))
		left := message == "" && len(frame) > most-16 // there was no room
		if message != whole && !begins && !left {
			t.Fatalf("text %q became %q", whole, message)
		}
	})
}

func TestSyslogMessage(t *testing.T) {
	m := newMessage(t)
	tr := open(t, newEnv(t), "syslog", object{"address": "127.0.0.1", "facility": "local7", "format": "cloudevents"}).(*syslogger)
	if tr.s.Address != "127.0.0.1:6514" {
		t.Errorf("address %s", tr.s.Address)
	}
	for severity, number := range map[event.Severity]uint8{event.Info: 6, event.Notice: 5, event.Warn: 4, event.Error: 3, event.Critical: 2} {
		m.Severity = severity
		s := tr.message(m)
		got := parse5424(t, s.encode(8192))
		if *got.Facility != 23 || *got.Severity != number || *got.Hostname != "web1" || *got.MsgID != "disk_full" {
			t.Errorf("%s: %+v", severity, got)
		}
		if e, err := event.Decode([]byte(strings.TrimPrefix(*got.Message, "\ufeff"))); err != nil || e.ID != m.Event.ID {
			t.Errorf("%s: %v: %s", severity, err, *got.Message)
		}
	}
	m.Resolved, m.Event.Host = true, ""
	s := tr.message(m)
	if got := parse5424(t, s.encode(8192)); *got.Severity != 5 || (*got.StructuredData)[sdID]["resolved"] != "true" || *got.Hostname != "here" {
		t.Errorf("resolved: %+v", got)
	}
}

// listen is a TCP server that gives each connection to a function.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l.Addr().String()
}

func TestSyslogFailures(t *testing.T) {
	m, env := newMessage(t), newEnv(t)
	m.Text = strings.Repeat("x", 8000)
	silent := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) }) // and keeps its half open
	hangs := listen(t, func(net.Conn) { /* reads nothing, says nothing */ })
	resets := listen(t, func(c net.Conn) {
		io.ReadFull(c, make([]byte, 10))
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	})
	drops := listen(t, func(c net.Conn) {
		io.Copy(io.Discard, c) // to the end, which is ours to make
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	})
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := udp.LocalAddr().String()
	udp.Close()
	for _, tt := range []struct {
		name, address, protocol string
		class                   error
	}{
		{"a server that says nothing", silent, "tcp", nil},
		{"a connection that is reset", resets, "tcp", event.ErrUnavailable},
		{"a server that drops it at the end", drops, "tcp", event.ErrUnavailable},
		{"no TLS", hangs, "tls", event.ErrUnavailable},
		{"nobody listens", closed, "tcp", event.ErrUnavailable},
		{"nobody listens", closed, "udp", event.ErrUnavailable},
		{"an address that is not allowed", "127.0.0.2:514", "tcp", event.ErrDenied},
		{"an address that is not allowed", "127.0.0.2:514", "udp", event.ErrDenied},
		{"an address that is not allowed", "169.254.169.254", "tls", event.ErrDenied},
	} {
		a, err := open(t, env, "syslog", object{"address": tt.address, "protocol": tt.protocol, "timeout": "2s"}).Send(t.Context(), m)
		if tt.class == nil && err != nil || tt.class != nil && !errors.Is(err, tt.class) || a.Latency <= 0 && tt.class == nil {
			t.Errorf("%s over %s: %+v, %v", tt.name, tt.protocol, a, err)
		}
	}
}

// rsyslog runs in the foreground and writes each message as a line of JSON.
func rsyslog(t *testing.T) (ports map[string]string, ca string, lines func() []map[string]string) {
	t.Helper()
	program, err := exec.LookPath("rsyslogd")
	if err != nil {
		need(t, "rsyslogd")
	}
	dir := t.TempDir()
	pair, ca := certificate(t)
	for name, text := range map[string]string{"ca.pem": ca, "cert.pem": pair.cert, "key.pem": pair.key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ports = map[string]string{"udp": freePort(t, "udp"), "tcp": freePort(t, "tcp"), "tls": freePort(t, "tcp")}
	conf := fmt.Sprintf(`
global(workDirectory=%q maxMessageSize="16k" defaultNetstreamDriverCAFile=%q defaultNetstreamDriverCertFile=%q defaultNetstreamDriverKeyFile=%q)
module(load="imudp")
module(load="imptcp")
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
input(type="imudp" port=%q address="127.0.0.1")
input(type="imptcp" port=%q address="127.0.0.1" supportOctetCountedFraming="on")
input(type="imtcp" port=%q address="127.0.0.1" supportOctetCountedFraming="on")
template(name="lines" type="list" option.jsonf="on") {
  property(outname="pri" name="pri" format="jsonf")
  property(outname="version" name="protocol-version" format="jsonf")
  property(outname="time" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="id" name="msgid" format="jsonf")
  property(outname="data" name="structured-data" format="jsonf")
  property(outname="text" name="msg" format="jsonf")
}
action(type="omfile" file=%q template="lines" asyncWriting="off")
`, dir, dir+"/ca.pem", dir+"/cert.pem", dir+"/key.pem", ports["udp"], ports["tcp"], ports["tls"], dir+"/out.json")
	if err := os.WriteFile(filepath.Join(dir, "rsyslog.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(program, "-n", "-f", filepath.Join(dir, "rsyslog.conf"), "-i", filepath.Join(dir, "pid"))
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("rsyslogd: %s", said.String())
		}
	})
	for _, protocol := range []string{"tcp", "tls"} {
		eventually(t, "rsyslogd listens for "+protocol, func() bool {
			conn, err := net.Dial("tcp", "127.0.0.1:"+ports[protocol])
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
	}
	return ports, ca, func() []map[string]string {
		raw, err := os.ReadFile(filepath.Join(dir, "out.json"))
		if err != nil {
			return nil
		}
		var all []map[string]string
		for line := range bytes.Lines(raw) {
			var one map[string]string
			if json.Unmarshal(line, &one) == nil {
				all = append(all, one)
			}
		}
		return all
	}
}

func freePort(t *testing.T, network string) string {
	t.Helper()
	if network == "udp" {
		l, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return strconv.Itoa(l.LocalAddr().(*net.UDPAddr).Port)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// A real syslog server reads what was said, over each way.
func TestRsyslog(t *testing.T) {
	ports, ca, lines := rsyslog(t)
	env := newEnv(t)
	want := 0
	for _, protocol := range []string{"udp", "tcp", "tls"} {
		set := object{"address": "127.0.0.1:" + ports[protocol], "protocol": protocol}
		if protocol == "tls" {
			set["ca"] = ca
		}
		tr := open(t, env, "syslog", set)
		for _, text := range []string{"Filesystem /var is 97.5 % full", hostile, strings.Repeat("ä", 3000)} {
			m := newMessage(t)
			m.Text, m.Event.Subject = text, `a"b]c\d`+hostile
			start := time.Now()
			if _, err := tr.Send(t.Context(), m); err != nil {
				t.Fatalf("%s: %v", protocol, err)
			}
			if took := time.Since(start); protocol != "udp" && took >= drainTime {
				t.Errorf("%s: the server's end was not seen within %s", protocol, took)
			}
			want++
			eventually(t, protocol+" arrives", func() bool { return len(lines()) == want })
			got := lines()[want-1]
			message := strings.TrimPrefix(strings.TrimPrefix(got["text"], " "), "\ufeff")
			message = strings.TrimPrefix(message, "\\ufeff")
			whole := oneLine(text)
			if got["pri"] != "27" || got["version"] != "1" || got["time"] != "2026-11-21T08:00:00.123456Z" || got["host"] != "web1" || got["app"] != "tocsin" || got["id"] != "disk_full" {
				t.Errorf("%s: %v", protocol, got)
			}
			if message != whole && !strings.HasPrefix(whole, strings.TrimSuffix(message, ellipsis)) || len(message) < min(len(whole), 1000) {
				t.Errorf("%s: %q became %q", protocol, whole, message)
			}
			if !strings.Contains(got["data"], `[tocsin@32473 id="e1" type="disk_full"`) || !strings.Contains(got["data"], `subject="a\"b\]c\\d@everyone`) {
				t.Errorf("%s: structured data %s", protocol, got["data"])
			}
		}
	}
	if _, err := open(t, env, "syslog", object{"address": "127.0.0.1:" + ports["tls"]}).Send(t.Context(), newMessage(t)); !errors.Is(err, event.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an authority that nobody knows: %v", err)
	}
}
