package source

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// unit is what systemd says of one service (org.freedesktop.systemd1(5)).
type unit struct {
	name, description string
	active, sub       string // ActiveState and SubState, such as activating and auto-restart
	kind              string // Type, such as simple or oneshot
	result            string // Result of its last run: success, exit-code, signal, …
	code, status      int32  // how its main process ended, as waitid(2) tells
	restarts          uint32 // automatic ones since it was started by hand
	invocation        string
	changed           time.Time // when active or sub changed last
	triggeredBy       []string  // timers, sockets and paths that start it
	user              string    // whose processes it has, empty for root
	programs          []string  // what it executes
}

// change says that a unit has changed.
type change struct {
	unit unit
	gone bool // it is no longer loaded
	lost bool // changes were missed: read everything anew
}

// manager is a connection to systemd.
type manager interface {
	// all gives every loaded service.
	all(ctx context.Context) ([]unit, error)
	// one gives a service, which is loaded for that if need be.
	one(ctx context.Context, name string) (unit, error)
	// changes is closed when the connection has ended.
	changes() <-chan change
	close()
}

// absentError says what is lacking, and how to give it.
type absentError struct{ lacks string }

func (e *absentError) Error() string { return e.lacks }

const (
	systemdName    = "org.freedesktop.systemd1"
	busName        = "org.freedesktop.DBus"
	unitInterface  = systemdName + ".Unit"
	kindInterface  = systemdName + ".Service"
	unitsPath      = "/org/freedesktop/systemd1/unit/"
	serviceEnding  = "_2eservice" // of an escaped path
	callPatience   = 10 * time.Second
	keptChanges    = 1024 // that wait to be read, before all is read anew
	keptServices   = 20_000
	systemBus      = "unix:path=/run/dbus/system_bus_socket"
	serviceUnknown = "org.freedesktop.DBus.Error.ServiceUnknown"
)

// bus is a manager over D-Bus. Changes come as signals, which carry the values,
// so that no state in between is missed.
type bus struct {
	conn   *dbus.Conn
	events chan change

	mu     sync.Mutex // guards all below
	owner  string     // systemd's own name on this bus
	units  map[dbus.ObjectPath]*unit
	lost   bool
	closed bool
}

// dialBus connects to a bus. watch asks for changes, too.
func dialBus(ctx context.Context, address string, watch bool) (manager, error) {
	b := &bus{events: make(chan change, keptChanges), units: map[dbus.ObjectPath]*unit{}}
	conn, err := dbus.Dial(address, dbus.WithSignalHandler(b), dbus.WithContext(ctx))
	if err != nil {
		return nil, &absentError{fmt.Sprintf("no D-Bus answers at %s (%v): install and start dbus, or name another address in bus", address, err)}
	}
	b.conn = conn
	if err := b.greet(ctx, watch); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bus) greet(ctx context.Context, watch bool) error {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	// Auth reads without regard to ctx: whoever listens there may say nothing.
	stop := context.AfterFunc(ctx, b.close)
	defer stop()
	if err := b.conn.Auth(nil); err != nil {
		return &absentError{fmt.Sprintf("D-Bus lets the server's user not in: %v", err)}
	}
	if err := b.conn.Hello(); err != nil {
		return fmt.Errorf("d-bus: %w", err)
	}
	if !watch {
		return nil
	}
	for _, options := range [][]dbus.MatchOption{
		{dbus.WithMatchSender(systemdName), dbus.WithMatchInterface("org.freedesktop.DBus.Properties"), dbus.WithMatchMember("PropertiesChanged"), dbus.WithMatchArg(0, unitInterface)},
		{dbus.WithMatchSender(systemdName), dbus.WithMatchInterface("org.freedesktop.DBus.Properties"), dbus.WithMatchMember("PropertiesChanged"), dbus.WithMatchArg(0, kindInterface)},
		{dbus.WithMatchSender(systemdName), dbus.WithMatchInterface(systemdName + ".Manager"), dbus.WithMatchMember("UnitRemoved")},
		{dbus.WithMatchSender(systemdName), dbus.WithMatchInterface(systemdName + ".Manager"), dbus.WithMatchMember("Reloading")},
		{dbus.WithMatchInterface(busName), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, systemdName)},
	} {
		if err := b.conn.AddMatchSignalContext(ctx, options...); err != nil {
			return fmt.Errorf("d-bus: %w", err)
		}
	}
	if err := b.call(ctx, "/org/freedesktop/systemd1", systemdName+".Manager.Subscribe").Err; err != nil {
		return err
	}
	var owner string
	if err := b.conn.BusObject().CallWithContext(ctx, busName+".GetNameOwner", 0, systemdName).Store(&owner); err != nil {
		return &absentError{fmt.Sprintf("systemd has left D-Bus: %v", err)}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owner = owner
	return nil
}

func (b *bus) call(ctx context.Context, at dbus.ObjectPath, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	call := b.conn.Object(systemdName, at).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
	refused, _ := errors.AsType[dbus.Error](call.Err)
	switch {
	case call.Err == nil:
	case refused.Name == serviceUnknown, refused.Name == "org.freedesktop.DBus.Error.NameHasNoOwner":
		call.Err = &absentError{"no systemd on this D-Bus: this machine is started by something else, or systemd is starting"}
	case errors.Is(call.Err, context.DeadlineExceeded):
		call.Err = &absentError{"systemd does not answer on D-Bus"}
	default:
		call.Err = fmt.Errorf("systemd: %s: %w", method[strings.LastIndexByte(method, '.')+1:], call.Err)
	}
	return call
}

func (b *bus) changes() <-chan change { return b.events }

func (b *bus) close() { _ = b.conn.Close() } // nothing is buffered in it

// all implements manager. What changes meanwhile is not overwritten by what was
// read before: signals and answers come in one order.
func (b *bus) all(ctx context.Context) ([]unit, error) {
	var rows []struct {
		Name, Description, Load, Active, Sub, Following string
		Path                                            dbus.ObjectPath
		JobID                                           uint32
		JobType                                         string
		JobPath                                         dbus.ObjectPath
	}
	if err := b.call(ctx, "/org/freedesktop/systemd1", systemdName+".Manager.ListUnitsByPatterns", []string{}, []string{"*.service"}).Store(&rows); err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.units, b.lost = map[dbus.ObjectPath]*unit{}, false
	b.mu.Unlock()
	var all []unit
	for _, row := range rows[:min(len(rows), keptServices)] {
		u, err := b.read(ctx, row.Path)
		if _, refused := errors.AsType[dbus.Error](err); refused {
			continue // gone since
		}
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// one implements manager.
func (b *bus) one(ctx context.Context, name string) (unit, error) {
	var at dbus.ObjectPath
	if err := b.call(ctx, "/org/freedesktop/systemd1", systemdName+".Manager.LoadUnit", name).Store(&at); err != nil {
		return unit{}, err
	}
	return b.read(ctx, at)
}

// read asks for all properties of a service. The answer's place among the
// signals is that of the call's return, so it is merged under the lock.
func (b *bus) read(ctx context.Context, at dbus.ObjectPath) (unit, error) {
	u := &unit{name: unescapePath(at)}
	for _, name := range []string{kindInterface, unitInterface} {
		var properties map[string]dbus.Variant
		if err := b.call(ctx, at, "org.freedesktop.DBus.Properties.GetAll", name).Store(&properties); err != nil {
			return unit{}, err
		}
		u.merge(properties)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if known := b.units[at]; known != nil && known.changed.After(u.changed) {
		known.description, known.kind, known.triggeredBy, known.user, known.programs = u.description, u.kind, u.triggeredBy, u.user, u.programs
		return *known, nil
	}
	if len(b.units) < keptServices {
		b.units[at] = u
	}
	return *u, nil
}

// DeliverSignal implements dbus.SignalHandler: the library calls it for each
// signal in turn, so it must not wait.
func (b *bus) DeliverSignal(_, _ string, s *dbus.Signal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(s.Body) == 0 || !b.believed(s) {
		return
	}
	switch s.Name {
	case busName + ".NameOwnerChanged":
		b.end() // systemd was executed anew or has ended: subscribe again
	case systemdName + ".Manager.Reloading":
		if begins, ok := s.Body[0].(bool); ok && !begins {
			b.send(change{lost: true})
		}
	case systemdName + ".Manager.UnitRemoved":
		if len(s.Body) == 2 {
			if at, ok := s.Body[1].(dbus.ObjectPath); ok && b.units[at] != nil {
				b.send(change{unit: *b.units[at], gone: true})
				delete(b.units, at)
			}
		}
	case "org.freedesktop.DBus.Properties.PropertiesChanged":
		b.changed(s)
	}
}

// believed tells whether a signal comes from whom it must. Matches choose only among
// what is sent to all: anybody on the bus may send us a signal of any name.
func (b *bus) believed(s *dbus.Signal) bool {
	if s.Name == busName+".NameOwnerChanged" {
		return s.Sender == busName && s.Body[0] == systemdName
	}
	return b.owner != "" && s.Sender == b.owner // before that, all is still to be read
}

func (b *bus) changed(s *dbus.Signal) {
	if !strings.HasPrefix(string(s.Path), unitsPath) || !strings.HasSuffix(string(s.Path), serviceEnding) || len(s.Body) < 2 {
		return
	}
	name, _ := s.Body[0].(string)
	properties, ok := s.Body[1].(map[string]dbus.Variant)
	if !ok {
		return
	}
	u := b.units[s.Path]
	if u == nil {
		if len(b.units) >= keptServices {
			return
		}
		u = &unit{name: unescapePath(s.Path)}
		b.units[s.Path] = u
	}
	u.merge(properties)
	if name == unitInterface { // systemd sends it after that of the service
		b.send(change{unit: *u})
	}
}

// send hands on a change, or notes that one was lost.
func (b *bus) send(c change) {
	if b.lost { // until all is read anew
		return
	}
	if len(b.events) >= keptChanges-1 {
		b.lost = true
		c = change{lost: true}
	}
	b.events <- c
}

// Terminate implements dbus.Terminator.
func (b *bus) Terminate() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end()
}

func (b *bus) end() {
	if !b.closed {
		b.closed = true
		close(b.events)
	}
}

// merge takes values over. Those of another type than documented are left out.
func (u *unit) merge(properties map[string]dbus.Variant) {
	assign(properties, "Id", &u.name)
	assign(properties, "Description", &u.description)
	assign(properties, "ActiveState", &u.active)
	assign(properties, "SubState", &u.sub)
	assign(properties, "Type", &u.kind)
	assign(properties, "Result", &u.result)
	assign(properties, "ExecMainCode", &u.code)
	assign(properties, "ExecMainStatus", &u.status)
	assign(properties, "NRestarts", &u.restarts)
	assign(properties, "TriggeredBy", &u.triggeredBy)
	assign(properties, "User", &u.user)
	var id []byte
	if assign(properties, "InvocationID", &id); len(id) == 16 {
		u.invocation = hex.EncodeToString(id)
	}
	var at uint64
	if assign(properties, "StateChangeTimestamp", &at); at > 0 && at < math.MaxInt64 {
		u.changed = time.UnixMicro(int64(at)).UTC()
	}
	// a(sasbttttuii): path, arguments, whether failure is ignored, and figures of the run.
	if v, ok := properties["ExecStart"]; ok {
		u.programs = nil
		commands, _ := v.Value().([][]any)
		for _, command := range commands {
			if len(command) > 0 {
				if program, ok := command[0].(string); ok {
					u.programs = append(u.programs, path.Base(program))
				}
			}
		}
	}
}

func assign[T any](properties map[string]dbus.Variant, name string, to *T) {
	if v, ok := properties[name]; ok {
		if value, ok := v.Value().(T); ok {
			*to = value
		}
	}
}

// unescapePath is the name of the unit at a path: what is no letter or digit is
// written there as _ and two hexadecimal digits.
func unescapePath(at dbus.ObjectPath) string {
	var name strings.Builder
	rest := strings.TrimPrefix(string(at), unitsPath)
	for i := 0; i < len(rest); i++ {
		if rest[i] == '_' && i+2 < len(rest) {
			if c, err := hex.DecodeString(rest[i+1 : i+3]); err == nil {
				name.WriteByte(c[0])
				i += 2
				continue
			}
		}
		name.WriteByte(rest[i])
	}
	return name.String()
}

// killed tells whether the main process ended by a signal (CLD_KILLED, CLD_DUMPED).
func (u *unit) killed() bool { return u.code == 2 || u.code == 3 }

// exitStatus is the main process's, as a shell gives it.
func (u *unit) exitStatus() int {
	if u.killed() {
		return 128 + int(u.status)
	}
	return int(u.status)
}
