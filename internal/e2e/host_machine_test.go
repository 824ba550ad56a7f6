package e2e

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"
)

// machine is a systemd of its own, as process 1 of namespaces, with a bus and a
// journal that are seen from outside.
type machine struct {
	t    *testing.T
	base string
	cmd  *exec.Cmd
	bus  *dbus.Conn
}

func (m *machine) busAddress() string {
	return "unix:path=" + filepath.Join(m.base, "bus", "system_bus_socket")
}

func (m *machine) journal() string { return filepath.Join(m.base, "journal") }

// newMachine prepares one; start starts it.
func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		need(t, "root", "namespaces with a systemd need it")
	}
	for _, name := range []string{"systemctl", "journalctl", "dbus-daemon", "unshare"} {
		tool(t, name)
	}
	return &machine{t: t, base: t.TempDir()}
}

// start boots it, with the units of testdata/systemd.
func (m *machine) start() {
	m.t.Helper()
	units := filepath.Join(root, "internal", "e2e", "testdata", "systemd")
	m.cmd = exec.Command("bash", shared(m.t, "producers", "sdns.sh"), m.base, units)
	log := &buffer{}
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(m.stop)
	eventually(m.t, "systemd on its bus: "+log.String(), func() bool {
		conn, err := dbus.Connect(m.busAddress())
		if err != nil {
			return false
		}
		var state string
		err = conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").StoreProperty("org.freedesktop.systemd1.Manager.SystemState", &state)
		if err != nil || state == "starting" || state == "initializing" {
			conn.Close()
			return false
		}
		m.bus = conn
		return true
	})
}

// stop ends it as a power cut would: unshare passes no signal on, so its child,
// which is process 1, is killed and takes all others with it.
func (m *machine) stop() {
	if m.cmd == nil {
		return
	}
	pid := m.cmd.Process.Pid
	for _, child := range children(pid) {
		_ = syscall.Kill(child, syscall.SIGKILL)
	}
	_ = m.cmd.Wait()
	if m.bus != nil {
		m.bus.Close()
	}
	m.cmd, m.bus = nil, nil
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		removeGroups(filepath.Join(root, fmt.Sprint("tocsin-", pid)))
	}
}

// children are the processes that a process has started.
func children(pid int) []int {
	var all []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range tasks {
		list, _ := os.ReadFile(file) // a thread that has ended has none
		for child := range strings.FieldsSeq(string(list)) {
			if n, err := strconv.Atoi(child); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// removeGroups removes a control group and those below it.
func removeGroups(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeGroups(filepath.Join(dir, e.Name()))
		}
	}
	_ = os.Remove(dir)
}

// call asks systemd for something.
func (m *machine) call(method string, args ...any) {
	m.t.Helper()
	if err := m.bus.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").Call("org.freedesktop.systemd1.Manager."+method, 0, args...).Err; err != nil {
		m.t.Fatalf("%s: %v", method, err)
	}
}

func (m *machine) startUnit(name string) { m.t.Helper(); m.call("StartUnit", name, "replace") }

// kill9 kills the processes of a unit.
func (m *machine) kill9(name string) { m.t.Helper(); m.call("KillUnit", name, "all", int32(9)) }

// property is a property of a unit, as systemd writes it.
func (m *machine) property(name, property string) dbus.Variant {
	m.t.Helper()
	var at dbus.ObjectPath
	manager := m.bus.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
	if err := manager.Call("org.freedesktop.systemd1.Manager.LoadUnit", 0, name).Store(&at); err != nil {
		m.t.Fatal(err)
	}
	v, err := m.bus.Object("org.freedesktop.systemd1", at).GetProperty(property)
	if err != nil {
		m.t.Fatal(err)
	}
	return v
}

// invocation is systemd's id of the present run of a unit.
func (m *machine) invocation(name string) string {
	m.t.Helper()
	id, _ := m.property(name, "org.freedesktop.systemd1.Unit.InvocationID").Value().([]byte)
	return hex.EncodeToString(id)
}

// asUser starts a unit of the service manager of www-data: only that user may
// talk to it.
func (m *machine) asUser(unit string) {
	m.t.Helper()
	init := children(m.cmd.Process.Pid)
	if len(init) != 1 {
		m.t.Fatalf("unshare has the children %v", init)
	}
	cmd := exec.CommandContext(m.t.Context(), "nsenter", "-t", strconv.Itoa(init[0]), "-m", "-p", "-u", "-i", "-C", "setpriv", "--reuid=33", "--regid=33", "--clear-groups",
		"env", "XDG_RUNTIME_DIR=/run/user/33", "systemctl", "--user", "start", unit)
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("%v: %s", err, out)
	}
}
