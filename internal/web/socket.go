package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
)

// ListenSocket listens on a Unix socket, where the kernel says who calls: root
// and the server's own user are administrators, members of group may emit, all
// others may nothing. A stale socket of a server that is gone is replaced; one
// that somebody answers is an error of class event.ErrConflict.
func ListenSocket(ctx context.Context, path, group string) (net.Listener, error) {
	gid := -1
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, event.Invalidf("group: %w", err)
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return nil, event.Invalidf("group %s: its id %q is no number", group, g.Gid)
		}
	}
	dialer := net.Dialer{Timeout: time.Second}
	if c, err := dialer.DialContext(ctx, "unix", path); err == nil {
		_ = c.Close()
		return nil, event.Conflictf("another server answers at %s", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("stale socket: %w", err)
	}
	// Nobody else may connect before the mode is set.
	old := syscall.Umask(0o177)
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if gid >= 0 {
		if err := errors.Join(os.Chown(path, -1, gid), os.Chmod(path, 0o660)); err != nil { //nolint:gosec // members of the group may emit
			return nil, errors.Join(fmt.Errorf("socket %s: %w", path, err), l.Close())
		}
	}
	return &socketListener{Listener: l, gid: gid}, nil
}

type socketListener struct {
	net.Listener
	gid int
}

// Accept asks the kernel who is at the other end (unix(7), SO_PEERCRED).
func (l *socketListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	p, err := l.peer(c)
	if err != nil {
		p = &identity.Principal{AuthType: "unauthenticated"} // may nothing, and is told so
	}
	return &socketConn{c, p}, nil
}

func (l *socketListener) peer(c net.Conn) (*identity.Principal, error) {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return nil, err
	}
	if credErr != nil {
		return nil, credErr
	}
	uid := strconv.FormatUint(uint64(cred.Uid), 10)
	p := &identity.Principal{AuthType: "system", ID: "uid/" + uid, Name: uid}
	account, err := user.LookupId(uid)
	if err == nil {
		p.Name = account.Username
	}
	switch {
	case cred.Uid == 0, int(cred.Uid) == os.Geteuid():
		p.Scopes = []identity.Scope{identity.Admin}
	case l.gid >= 0 && (int(cred.Gid) == l.gid || account != nil && inGroup(account, l.gid)):
		p.Scopes = []identity.Scope{identity.Emit}
	}
	return p, nil
}

func inGroup(u *user.User, gid int) bool {
	ids, err := u.GroupIds()
	return err == nil && slices.Contains(ids, strconv.Itoa(gid))
}

type socketConn struct {
	net.Conn
	principal *identity.Principal
}

// Principal implements Peer.
func (c *socketConn) Principal() *identity.Principal { return c.principal }
