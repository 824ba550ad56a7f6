package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// playJournalctl puts a program of that name first; it writes its arguments into
// the file that is returned.
func playJournalctl(t *testing.T, script string) (arguments string) {
	t.Helper()
	dir := t.TempDir()
	arguments = filepath.Join(dir, "arguments")
	text := "#!/bin/sh\necho \"$@\" >> " + arguments + "\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return arguments
}

// What journalctl prints, with garbage between: text, bytes, several values, null,
// and a record that is too long.
func TestJournalFollow(t *testing.T) {
	long := strings.Repeat("x", longestRecord)
	lines := filepath.Join(t.TempDir(), "lines")
	content := `{"__CURSOR":"c0","MESSAGE":"seen before"}
{"__CURSOR":"c1","MESSAGE":"text","_PID":"1"}
garbage
{"__CURSOR":"c2","MESSAGE":[104,195,164,255],"UNIT":null}
{"__CURSOR":"c3","MESSAGE":"` + long + `"}
{"__CURSOR":"c4","MESSAGE":["first","second"],"UNIT":7}

{"__CURSOR":"c5","MESSAGE":[[104,105],"x"]}
`
	if err := os.WriteFile(lines, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	arguments := playJournalctl(t, "cat "+lines+"; echo 'the disk is gone' >&2; exit 1")
	j := &journalctl{dir: "/some/folder"}
	var got []string
	err := j.follow(t.Context(), "c0", []string{"MESSAGE_ID=" + messageFailed}, func(r *record) error {
		got = append(got, string(r.Cursor+" "+r.Message))
		return nil
	})
	if absent, ok := errors.AsType[*absentError](err); !ok || absent.lacks != "journalctl has ended: the disk is gone" {
		t.Errorf("follow = %v", err)
	}
	if diff := cmp.Diff([]string{"c1 text", "c2 hä\uFFFD", "c4 first", "c5 hi"}, got); diff != "" {
		t.Error(diff)
	}
	said, err := os.ReadFile(arguments)
	if err != nil || !strings.Contains(string(said), "--directory=/some/folder") || !strings.Contains(string(said), "--follow --no-tail --cursor=c0 MESSAGE_ID="+messageFailed) {
		t.Errorf("arguments %q, %v", said, err)
	}
}

// The child ends with the context, also one that says nothing; what give says
// ends it, too.
func TestJournalFollowEnds(t *testing.T) {
	playJournalctl(t, `echo '{"__CURSOR":"c1"}'; exec sleep 1000`)
	j := &journalctl{}
	ctx, cancel := context.WithCancel(t.Context())
	if err := j.follow(ctx, "@5", nil, func(*record) error { cancel(); return nil }); err == nil {
		t.Error("follow ended without an error")
	}
	enough := errors.New("enough")
	if err := j.follow(t.Context(), "@5", nil, func(*record) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("follow = %v", err)
	}
}

func TestJournalReady(t *testing.T) {
	playJournalctl(t, "")
	dir := t.TempDir()
	j := &journalctl{dir: dir}
	absent, _ := errors.AsType[*absentError](j.ready())
	if absent == nil || !strings.Contains(absent.lacks, dir) {
		t.Errorf("an empty folder: %v", absent)
	}
	below := filepath.Join(dir, "3d1219c7c4c5404aaa1f6d2a48adfda4")
	if err := os.Mkdir(below, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(below, "system.journal"), []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		if absent, _ := errors.AsType[*absentError](j.ready()); absent == nil || !strings.Contains(absent.lacks, "systemd-journal") {
			t.Errorf("a closed journal: %v", absent)
		}
	} else if err := j.ready(); err != nil {
		t.Errorf("a journal: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if absent, _ := errors.AsType[*absentError](j.ready()); absent == nil || !strings.Contains(absent.lacks, "journalctl") {
		t.Errorf("no journalctl: %v", absent)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"__CURSOR":"c","MESSAGE":[1,2],"UNIT":"a.service","_PID":"1","EXIT_STATUS":"9","EXIT_CODE":"killed"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r record
		if json.Unmarshal(raw, &r) != nil {
			return
		}
		name, _, _, ok := r.unit()
		if ok && name == "" {
			t.Error("a unit without a name")
		}
		if r.since(&r) != 0 {
			t.Error("a record comes after itself")
		}
		_ = exitOf(&r)
	})
}

// Records of a unit of the system are believed to process 1 alone.
func TestRecordUnit(t *testing.T) {
	for want, r := range map[string]record{
		"a.service r1  true":   {Unit: "a.service", Run: "r1", PID: "1"},
		"   false":             {Unit: "a.service", Run: "r1", PID: "4711", UID: "33"},
		"b.service r2 33 true": {UserUnit: "b.service", UserRun: "r2", PID: "4711", UID: "33"},
	} {
		name, run, uid, ok := r.unit()
		if got := fmt.Sprint(name, " ", run, " ", uid, " ", ok); got != want {
			t.Errorf("unit = %q, want %q", got, want)
		}
	}
	for want, r := range map[int]record{3: {Exit: "3", ExitCode: "exited"}, 137: {Exit: "9", ExitCode: "killed"}, 134: {Exit: "ABRT", ExitCode: "dumped"}} {
		if got := exitOf(&r); got == nil || *got != want {
			t.Errorf("%v: %v", r, got)
		}
	}
}

// What answers on the bus is garbage, nothing at all, or nobody.
func TestBusHostile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus")
	if _, err := dialBus(t.Context(), "unix:path="+path, true); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("nobody: %v", err)
	}
	for name, answer := range map[string]string{"garbage": "HTTP/1.1 200 OK\r\n\r\nhello\r\n", "nothing": "", "half": "OK 0123456789abcdef\r\n\x00\x00"} {
		address := filepath.Join(t.TempDir(), "bus")
		l, err := net.Listen("unix", address)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(answer))
			_, _ = conn.Read(make([]byte, 100))
			<-t.Context().Done()
			_ = conn.Close()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if _, err := dialBus(ctx, "unix:path="+address, true); err == nil {
			t.Errorf("%s: connected", name)
		}
		cancel()
		_ = l.Close()
	}
}

// Signals: values are merged, those of a wrong type left out, and a flood is one
// request to read all anew.
func TestBusSignals(t *testing.T) {
	b := &bus{owner: ":1.1", events: make(chan change, keptChanges), units: map[dbus.ObjectPath]*unit{}}
	path := dbus.ObjectPath(unitsPath + "web_2dshop_402_2eservice")
	changed := func(at dbus.ObjectPath, name string, properties any) {
		b.DeliverSignal("", "", &dbus.Signal{Sender: ":1.1", Path: at, Name: "org.freedesktop.DBus.Properties.PropertiesChanged", Body: []any{name, properties, []string{}}})
	}
	id := []byte{0xAB, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	changed(path, kindInterface, map[string]dbus.Variant{"Result": dbus.MakeVariant("signal"), "NRestarts": dbus.MakeVariant(uint32(3)), "ExecMainStatus": dbus.MakeVariant("9"), "ExecMainCode": dbus.MakeVariant(int32(2))})
	changed(path, unitInterface, map[string]dbus.Variant{"ActiveState": dbus.MakeVariant("failed"), "InvocationID": dbus.MakeVariant(id), "StateChangeTimestamp": dbus.MakeVariant(uint64(1795294230881388))})
	changed("/org/freedesktop/systemd1/unit/web_2emount", unitInterface, map[string]dbus.Variant{"ActiveState": dbus.MakeVariant("failed")})
	changed(path, unitInterface, "garbage")
	b.DeliverSignal("", "", &dbus.Signal{Sender: ":1.1", Path: path, Name: systemdName + ".Manager.Reloading", Body: []any{"garbage"}})
	b.DeliverSignal("", "", &dbus.Signal{Sender: ":1.1", Path: path, Name: systemdName + ".Manager.UnitRemoved"})
	want := unit{name: "web-shop@2.service", active: "failed", result: "signal", code: 2, restarts: 3, invocation: "ab0102030405060708090a0b0c0d0e0f", changed: time.UnixMicro(1795294230881388).UTC()}
	if diff := cmp.Diff(change{unit: want}, <-b.events, cmp.AllowUnexported(change{}, unit{})); diff != "" || len(b.events) != 0 {
		t.Errorf("%d more, %s", len(b.events), diff)
	}
	for range 10_000 {
		changed(path, unitInterface, map[string]dbus.Variant{"ActiveState": dbus.MakeVariant("active")})
	}
	last := change{}
	for len(b.events) > 0 {
		last = <-b.events
	}
	if !last.lost || !b.lost {
		t.Errorf("after a flood: %+v", last)
	}
	b.DeliverSignal("", "", &dbus.Signal{Sender: busName, Name: "org.freedesktop.DBus.NameOwnerChanged", Body: []any{systemdName, ":1.0", ""}})
	b.DeliverSignal("", "", &dbus.Signal{Sender: busName, Name: "org.freedesktop.DBus.NameOwnerChanged", Body: []any{systemdName, "", ":1.1"}})
	if _, open := <-b.events; open {
		t.Error("systemd is gone, and its connection is open")
	}
	b.Terminate()
}

// Anybody on the bus may send us a signal: systemd alone is believed about units, and
// the bus alone about who is systemd.
func TestBusBelieves(t *testing.T) {
	const at = unitsPath + "nginx_2eservice"
	failed := []any{unitInterface, map[string]dbus.Variant{"ActiveState": dbus.MakeVariant("failed")}, []string{}}
	gone := []any{systemdName, ":1.1", ""}
	for _, tt := range []struct {
		signal  dbus.Signal
		changes int
		ends    bool
	}{
		{dbus.Signal{Sender: ":1.1", Path: at, Name: "org.freedesktop.DBus.Properties.PropertiesChanged", Body: failed}, 1, false},
		{dbus.Signal{Sender: ":1.66", Path: at, Name: "org.freedesktop.DBus.Properties.PropertiesChanged", Body: failed}, 0, false},
		{dbus.Signal{Sender: ":1.66", Name: systemdName + ".Manager.Reloading", Body: []any{false}}, 0, false},
		{dbus.Signal{Sender: ":1.1", Name: systemdName + ".Manager.Reloading", Body: []any{false}}, 1, false},
		{dbus.Signal{Sender: ":1.66", Name: "org.freedesktop.DBus.NameOwnerChanged", Body: gone}, 0, false},
		{dbus.Signal{Sender: "org.freedesktop.DBus", Name: "org.freedesktop.DBus.NameOwnerChanged", Body: gone}, 0, true},
	} {
		b := &bus{owner: ":1.1", events: make(chan change, keptChanges), units: map[dbus.ObjectPath]*unit{}}
		b.DeliverSignal("", "", &tt.signal)
		if len(b.events) != tt.changes || b.closed != tt.ends {
			t.Errorf("%s of %s: %d changes, closed %t", tt.signal.Name, tt.signal.Sender, len(b.events), b.closed)
		}
	}
}
