package identity

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

func write(t *testing.T, s *state.State, do func(tx *state.Tx) error) {
	t.Helper()
	if err := s.Write(t.Context(), state.System(), do); err != nil {
		t.Fatal(err)
	}
}

// A link is good for its purpose, in its time, and once.
func TestLinks(t *testing.T) {
	_, s := newIdentity(t)
	var good, late, ended string
	write(t, s, func(tx *state.Tx) (err error) {
		good, err = newLink(tx, resetLink, 7, "v", time.Hour)
		return err
	})
	write(t, s, func(tx *state.Tx) (err error) {
		late, err = newLink(tx, resetLink, 7, "v", -time.Second)
		return err
	})
	write(t, s, func(tx *state.Tx) (err error) {
		if ended, err = newLink(tx, verifyLink, 7, "v", time.Hour); err != nil {
			return err
		}
		return dropLinks(tx, 7, verifyLink)
	})
	for what, try := range map[string]struct {
		p      purpose
		secret string
	}{"another purpose": {verifyLink, good}, "late": {resetLink, late}, "ended": {verifyLink, ended}, "made up": {resetLink, "x"}, "empty": {resetLink, ""}} {
		if _, err := findLink(t.Context(), s.Reader(), try.p, try.secret); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("find %s: %v", what, err)
		}
		err := s.Write(t.Context(), state.System(), func(tx *state.Tx) error { return useLink(tx, try.p, try.secret) })
		if !errors.Is(err, event.ErrInvalid) {
			t.Errorf("use %s: %v", what, err)
		}
	}
	if f, err := findLink(t.Context(), s.Reader(), resetLink, good); err != nil || f.user != 7 || f.value != "v" {
		t.Errorf("find = %+v, %v", f, err)
	}
	write(t, s, func(tx *state.Tx) error { return useLink(tx, resetLink, good) })
	if err := s.Write(t.Context(), state.System(), func(tx *state.Tx) error { return useLink(tx, resetLink, good) }); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("twice: %v", err)
	}
	var kept string
	if err := s.Reader().QueryRowContext(t.Context(), `SELECT min(hash) FROM links`).Scan(&kept); err != nil || strings.Contains(kept, late) {
		t.Errorf("kept: %q, %v", kept, err)
	}
}

func TestInvitationExpires(t *testing.T) {
	i, s := newIdentity(t)
	admin(t, i)
	r, token, err := i.Invite(t.Context(), from(""), boss(), Invitation{AccessLevel: Viewer})
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, func(tx *state.Tx) error {
		_, err := invitations.Update(tx, r.ID, 0, func(v *Invitation) error { v.ExpiresAt = time.Now().Add(-time.Second); return nil })
		return err
	})
	in := Acceptance{Token: token, Username: "late", Password: "a-good-password"}
	if _, err := i.Accept(t.Context(), from(""), in); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("a late invitation: %v", err)
	}
	in.Token = "made up"
	if _, err := i.Accept(t.Context(), from(""), in); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("a made-up one: %v", err)
	}
	if _, _, err := i.Invite(t.Context(), from(""), boss(), Invitation{AccessLevel: Viewer, ExpiresAt: time.Now().Add(91 * 24 * time.Hour)}); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("for more than 90 days: %v", err)
	}
}

// What has expired is swept away; an impersonation that nobody ends has its end
// on record all the same.
func TestSweep(t *testing.T) {
	i, s := newIdentity(t)
	admin(t, i)
	ann := newUser(t, i, "ann", Viewer)
	got, err := i.Impersonate(t.Context(), from("192.0.2.1"), boss(), ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.SignIn(t.Context(), from(""), "admin", "correct horse", ""); err != nil {
		t.Fatal(err)
	}
	if err := i.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p, err := i.Authenticate(t.Context(), from(""), got.Token); err != nil || p.OnBehalfOf != ann.ID.String() || p.Can(Emit) {
		t.Fatalf("%+v, %v", p, err)
	}
	write(t, s, func(tx *state.Tx) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE sessions SET expires = 1`)
		return err
	})
	before := lastSeq(t, s)
	if err := i.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := s.Outbox(t.Context(), before, 10)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%+v, %v", rows, err)
	}
	if e := rows[0].Event; e.Type != "impersonation_ended" || e.AuthType != "system" || e.AuthID != "uid/0" || e.OnBehalfOf != ann.ID.String() || !strings.Contains(string(e.Data), "its time was over") {
		t.Errorf("%+v", e)
	}
	var n int
	if err := s.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM sessions`).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d sessions are left, %v", n, err)
	}
}

// Who is kept out hears what everybody hears, whatever the reason is.
func TestNoEnumeration(t *testing.T) {
	i, _ := newIdentity(t)
	admin(t, i)
	for name, keepOut := range map[string]func(state.ObjectID) error{
		"suspended": func(id state.ObjectID) error {
			_, err := i.Suspend(t.Context(), from(""), boss(), id, 0, "")
			return err
		},
		"archived": func(id state.ObjectID) error { _, err := i.Archive(t.Context(), from(""), boss(), id, 0); return err },
		"fresh":    func(state.ObjectID) error { return nil }, // has no password yet
	} {
		in := UserInput{Username: name, AccessLevel: Viewer}
		if name != "fresh" {
			in.Password = "a-good-password"
		}
		u, err := i.CreateUser(t.Context(), from(""), boss(), in)
		if err != nil {
			t.Fatal(err)
		}
		if err := keepOut(u.ID); err != nil {
			t.Fatal(err)
		}
		_, unknown := i.SignIn(t.Context(), from(name), "nobody-"+name, "a-good-password", "")
		_, kept := i.SignIn(t.Context(), from(name), name, "a-good-password", "")
		if !errors.Is(kept, event.ErrDenied) || kept.Error() != unknown.Error() {
			t.Errorf("%s: %v, an unknown one: %v", name, kept, unknown)
		}
	}
}

// A stranger who tries long names fills no memory with them.
func TestLongNames(t *testing.T) {
	i, _ := newIdentity(t)
	long := strings.Repeat("x", 1<<20)
	if _, err := i.SignIn(t.Context(), from(""), long, "x", ""); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("SignIn: %v", err)
	}
	if err := i.AskReset(t.Context(), from(""), long); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("AskReset: %v", err)
	}
	for _, key := range brakeKeysOf("192.0.2.1", long) {
		if len(key) > 128 {
			t.Errorf("a key of %d bytes", len(key))
		}
	}
}

// A user has a hundred sessions at most; the oldest ends, on record.
func TestManySessions(t *testing.T) {
	i, s := newIdentity(t)
	admin(t, i)
	u, err := i.GetUser(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	first, err := i.open(t.Context(), from(""), u, "")
	if err != nil {
		t.Fatal(err)
	}
	for range maxSessions - 1 {
		if _, err := i.open(t.Context(), from(""), u, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := i.Authenticate(t.Context(), from(""), first.Token); err != nil {
		t.Errorf("the first of a hundred: %v", err)
	}
	before := lastSeq(t, s)
	if _, err := i.open(t.Context(), from(""), u, ""); err != nil {
		t.Fatal(err)
	}
	if types := typesAfter(t, s, before); len(types) != 3 || types[0] != "logout" {
		t.Errorf("raised %v", types)
	}
	if _, err := i.Authenticate(t.Context(), from(""), first.Token); !errors.Is(err, event.ErrDenied) {
		t.Errorf("the first of a hundred and one: %v", err)
	}
	if list, err := i.Sessions(t.Context(), boss(), 1); err != nil || len(list) != maxSessions {
		t.Errorf("%d sessions, %v", len(list), err)
	}
}

func TestGroupsAndRoles(t *testing.T) {
	i, _ := newIdentity(t)
	admin(t, i)
	ctx := t.Context()
	g, err := i.CreateGroup(ctx, from(""), Group{Name: "Ops"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.CreateGroup(ctx, from(""), Group{Name: "ops"}); !errors.Is(err, event.ErrConflict) {
		t.Errorf("the same name in other letters: %v", err)
	}
	if _, err := i.CreateUser(ctx, from(""), boss(), UserInput{Username: "x", AccessLevel: Viewer, Groups: []string{"99"}}); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("a group that is none: %v", err)
	}
	role, err := i.CreateRole(ctx, from(""), boss(), Role{Name: "Sender", Scopes: []Scope{Emit}})
	if err != nil {
		t.Fatal(err)
	}
	u, err := i.CreateUser(ctx, from(""), boss(), UserInput{Username: "ann", AccessLevel: "sender", Groups: []string{g.ID.String(), g.ID.String()}})
	if err != nil || len(u.Value.Groups) != 1 {
		t.Fatalf("%+v, %v", u, err)
	}
	if p, err := i.userPrincipal(ctx, u); err != nil || !p.Can(Emit) || p.Can(Read) {
		t.Errorf("the role's rights: %+v, %v", p, err)
	}
	if _, err := i.UpdateRole(ctx, from(""), boss(), role.ID, 0, func(r *Role) error { r.Name = "other"; return nil }); !errors.Is(err, event.ErrConflict) {
		t.Errorf("another name for a role that somebody has: %v", err)
	}
	if err := i.DeleteRole(ctx, from(""), role.ID, 0); !errors.Is(err, event.ErrConflict) {
		t.Errorf("a role that somebody has: %v", err)
	}
	if err := i.DeleteGroup(ctx, from(""), g.ID, 0); err != nil {
		t.Fatal(err)
	}
	if u, err = i.GetUser(ctx, u.ID); err != nil || len(u.Value.Groups) != 0 {
		t.Errorf("%+v, %v", u.Value, err)
	}
	for _, name := range []string{"", "viewer", "Admin", " x", "a\nb"} {
		if _, err := i.CreateRole(ctx, from(""), boss(), Role{Name: name, Scopes: []Scope{Read}}); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("a role called %q: %v", name, err)
		}
	}
}

func TestSSHKeyRules(t *testing.T) {
	const good = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINNwMHM8lLcve+HMdKmjaanRnkdOE0Sm3ZUxkjv5LTgg ann@host"
	const weak = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC2oRH9ISFaddVieKOprPN/wuQDhuNKsI1RRKDyefQf1H9/uNvRq7vptr9qnhGabPErPOmQjV5SsRw8br+Dw39VgURTqmzMc/aWGMVxsXdjbM0Wb3KBppO3HrURjtG2vtb1KSq0TjJ6jRaeeVzWxX0lVwpOd0hFK5CiAwrJd4X20Q== weak"
	if _, comment, err := parseKey(good); err != nil || comment != "ann@host" {
		t.Errorf("parseKey = %q, %v", comment, err)
	}
	for _, bad := range []string{"", "x", weak, `command="x" ` + good, good + "\n" + good, strings.Repeat("x", 20<<10)} {
		if _, _, err := parseKey(bad); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("parseKey(%.40q) = %v", bad, err)
		}
	}
}
