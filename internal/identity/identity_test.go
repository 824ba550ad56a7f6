package identity

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

func newIdentity(t *testing.T) (*Identity, *state.State) {
	t.Helper()
	dir := t.TempDir()
	s, err := state.Open(t.Context(), state.Options{Dir: dir, Source: "https://t.example", Significant: "https://m.example"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	key, err := state.OpenKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{State: s, Folder: state.NewFolder(s), Key: key, Source: "https://t.example", Logger: slog.New(slog.DiscardHandler)}), s
}

func from(address string) state.Cause { return state.Cause{ClientIP: address} }

func admin(t *testing.T, i *Identity) {
	t.Helper()
	if _, created, err := i.FirstAdmin(t.Context(), "correct horse"); err != nil || !created {
		t.Fatal(created, err)
	}
}

func TestFirstAdmin(t *testing.T) {
	i, s := newIdentity(t)
	if _, _, err := i.FirstAdmin(t.Context(), "short"); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("a short password: %v", err)
	}
	shown, created, err := i.FirstAdmin(t.Context(), "")
	if err != nil || !created || len(shown) != 29 {
		t.Fatalf("FirstAdmin = %q, %v, %v", shown, created, err)
	}
	if _, again, err := i.FirstAdmin(t.Context(), ""); again || err != nil {
		t.Errorf("a second first administrator: %v, %v", again, err)
	}
	if _, err := i.SignIn(t.Context(), from("192.0.2.1"), "admin", shown, ""); err != nil {
		t.Errorf("SignIn with the shown password: %v", err)
	}
	for _, e := range events(t, s) {
		if strings.Contains(string(e.Data), shown) || strings.Contains(string(e.Data), "argon2id") {
			t.Errorf("%s tells the password: %s", e.Type, e.Data)
		}
	}
}

func events(t *testing.T, s *state.State) []event.Event {
	t.Helper()
	rows, err := s.Outbox(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]event.Event, len(rows))
	for n := range rows {
		all[n] = rows[n].Event
	}
	return all
}

// Each act makes its set of events, with exactly the seed's fields.
func TestSignInEvents(t *testing.T) {
	i, s := newIdentity(t)
	admin(t, i)
	before := len(events(t, s))
	session, err := i.SignIn(t.Context(), from("192.0.2.1"), "admin", "correct horse", "")
	if err != nil {
		t.Fatal(err)
	}
	_, wrong := i.SignIn(t.Context(), from("192.0.2.1"), "admin", "wrong", "")
	_, nobody := i.SignIn(t.Context(), from("192.0.2.1"), "nobody", "wrong", "")
	if !errors.Is(wrong, event.ErrDenied) || wrong.Error() != nobody.Error() {
		t.Errorf("refusals must not tell apart: %q and %q", wrong, nobody)
	}
	renewed, err := i.Renew(t.Context(), from("192.0.2.9"), session.Token)
	if err != nil || renewed.Token == session.Token {
		t.Errorf("Renew = %v, %v", renewed, err)
	}
	var got []string
	for _, e := range events(t, s)[before:] {
		data := string(e.Data)
		if e.Type == "auth.ok" || e.Type == "auth.renew" {
			data = data[:len(`{"exp":`)] + data[strings.Index(data, ","):]
		}
		got = append(got, string(e.Type)+" "+e.AuthType+" "+e.AuthName+" "+e.ClientIP+" "+data)
	}
	const stage = `"stage":{"app":"tocsin_identity","model_name":"passwordstage","name":"password","pk":"password"}`
	want := []string{
		`auth.ok user admin 192.0.2.1 {"exp":,"ip":"192.0.2.1","username":"admin"}`,
		`login user admin 192.0.2.1 {"auth_method":"password","auth_method_args":{}}`,
		`auth.error unauthenticated  192.0.2.1 {"ip":"192.0.2.1","reason":"wrong password","username":"admin"}`,
		`login_failed unauthenticated  192.0.2.1 {"password":"********************","reason":"wrong password",` + stage + `,"username":"admin"}`,
		`auth.error unauthenticated  192.0.2.1 {"ip":"192.0.2.1","reason":"unknown user","username":"nobody"}`,
		`login_failed unauthenticated  192.0.2.1 {"password":"********************","reason":"unknown user",` + stage + `,"username":"nobody"}`,
		`auth.renew user admin 192.0.2.9 {"exp":,"ip":"192.0.2.9","username":"admin"}`,
		`secret_rotate user admin 192.0.2.9 {"token_of":"********************"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAuthenticate(t *testing.T) {
	i, s := newIdentity(t)
	admin(t, i)
	ctx := t.Context()
	session, err := i.SignIn(ctx, from(""), "admin", "correct horse", "")
	if err != nil {
		t.Fatal(err)
	}
	who, err := i.Authenticate(ctx, from(""), session.Token)
	if err != nil || who.Name != "admin" || !who.Can(Admin) || !who.Can(Emit) || who.Can(Forward) {
		t.Errorf("Authenticate = %+v, %v", who, err)
	}
	for _, bad := range []string{
		"", "x", session.Token + "x", session.Token[:len(session.Token)-3], "tcsn_made-up",
		"eyJhbGciOiJub25lIn0.eyJpc3MiOiJ0b2NzaW4iLCJhdWQiOlsidG9jc2luLWFwaSJdLCJzdWIiOiIxIiwiZXhwIjo5OTk5OTk5OTk5fQ.",
	} {
		if _, err := i.Authenticate(ctx, from(""), bad); !errors.Is(err, event.ErrDenied) {
			t.Errorf("Authenticate(%.20q) = %v", bad, err)
		}
	}
	// A new epoch ends every token at once.
	err = s.Write(ctx, state.System(), func(tx *state.Tx) error {
		_, err := users.Update(tx, 1, state.AnyVersion, func(u *User) error { u.Epoch++; return nil })
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Authenticate(ctx, from(""), session.Token); !errors.Is(err, event.ErrDenied) {
		t.Errorf("a revoked token: %v", err)
	}
}

func TestTokens(t *testing.T) {
	i, s := newIdentity(t)
	ctx := t.Context()
	boss := &Principal{ID: "uid/0", Scopes: []Scope{Admin}}
	r, secret, err := i.CreateToken(ctx, from(""), boss, Token{Name: "ci", Scopes: []Scope{Emit}})
	if err != nil {
		t.Fatal(err)
	}
	who, err := i.Authenticate(ctx, from(""), secret)
	if err != nil || who.AuthType != "api_key" || !who.Can(Emit) || who.Can(Read) || who.Can(Admin) {
		t.Errorf("Authenticate = %+v, %v", who, err)
	}
	acting := &Principal{ID: "2", Scopes: []Scope{Admin}, OnBehalfOf: "1", ActsAs: "admin"}
	if _, err := i.UpdateToken(ctx, from(""), acting, r.ID, r.Version, func(tk *Token) error {
		tk.Scopes = []Scope{Admin} // it would outlast the acting
		return nil
	}); !errors.Is(err, event.ErrDenied) {
		t.Errorf("changed on behalf of an administrator: %v", err)
	}
	if _, err := i.UpdateToken(ctx, from(""), boss, r.ID, r.Version, func(tk *Token) error {
		tk.Scopes, tk.Hash = []Scope{Read}, "forged"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if who, err = i.Authenticate(ctx, from(""), secret); err != nil || !who.Can(Read) || who.Can(Emit) {
		t.Errorf("after the change: %+v, %v", who, err)
	}
	if err := i.DeleteToken(ctx, from(""), r.ID, state.AnyVersion); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Authenticate(ctx, from(""), secret); !errors.Is(err, event.ErrDenied) {
		t.Errorf("a revoked token opens: %v", err)
	}
	past := time.Now().Add(-time.Minute)
	for says, bad := range map[string]Token{
		"needs a name":   {Scopes: []Scope{Read}},
		"name at least":  {Name: "x"},
		"unknown":        {Name: "x", Scopes: []Scope{"root"}},
		"is in the past": {Name: "x", Scopes: []Scope{Read}, ExpiresAt: &past},
	} {
		if _, _, err := i.CreateToken(ctx, from(""), boss, bad); !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("CreateToken(%+v) = %v, want %q", bad, err, says)
		}
	}
	if _, _, err := i.CreateToken(ctx, from(""), &Principal{Scopes: []Scope{Read}}, Token{Name: "x", Scopes: []Scope{Admin}}); !errors.Is(err, event.ErrDenied) {
		t.Errorf("more than one has oneself: %v", err)
	}
	for _, e := range events(t, s) {
		if strings.Contains(string(e.Data), secret) || strings.Contains(string(e.Data), hashToken(secret)) {
			t.Errorf("%s tells the token: %s", e.Type, e.Data)
		}
	}
}

func TestTokenExpires(t *testing.T) {
	i, _ := newIdentity(t)
	soon := time.Now().Add(time.Hour)
	_, secret, err := i.CreateToken(t.Context(), from(""), &Principal{Scopes: []Scope{Admin}}, Token{Name: "x", Scopes: []Scope{Read}, ExpiresAt: &soon})
	if err != nil {
		t.Fatal(err)
	}
	i.known.put([32]byte{1}, &Principal{}, time.Now().Add(-time.Second))
	if i.known.get([32]byte{1}, time.Now()) != nil {
		t.Error("the memory holds on to what has expired")
	}
	if _, until, err := i.lookUpToken(context.Background(), hashToken(secret)); err != nil || until.After(soon) {
		t.Errorf("lookUpToken = %v, %v", until, err)
	}
}

func TestBrake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBrake()
		for range freeTries - 1 {
			b.failed("192.0.2.1", "admin")
		}
		if w := b.wait("192.0.2.1", "admin"); w != 0 {
			t.Errorf("slowed after %d failures: %v", freeTries-1, w)
		}
		b.failed("192.0.2.1", "admin")
		if w := b.wait("192.0.2.1", "ADMIN"); w != firstWait {
			t.Errorf("after %d failures: %v, want %v", freeTries, w, firstWait)
		}
		if w := b.wait("198.51.100.1", "admin"); w != firstWait {
			t.Errorf("the account is slowed from everywhere: %v", w)
		}
		if w := b.wait("192.0.2.1", "other"); w != firstWait {
			t.Errorf("the address is slowed for every account: %v", w)
		}
		for range 30 {
			b.failed("192.0.2.1", "admin")
		}
		if w := b.wait("198.51.100.1", "admin"); w != accountMax {
			t.Errorf("an account waits %v at most, not %v", accountMax, w)
		}
		if w := b.wait("192.0.2.1", "x"); w != maxWait {
			t.Errorf("an address waits %v at most, not %v", maxWait, w)
		}
		time.Sleep(forget + time.Second)
		b.failed("192.0.2.1", "admin")
		if w := b.wait("192.0.2.1", "admin"); w != 0 {
			t.Errorf("old failures are forgotten: %v", w)
		}
		b.succeeded("192.0.2.1", "admin")
		if len(b.tries) != 0 {
			t.Error("a success makes good")
		}
	})
}

func TestBrakeNetworks(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "": "", "::ffff:192.0.2.1": "::ffff:192.0.2.1",
	} {
		if got := network(address); got != want {
			t.Errorf("network(%q) = %q, want %q", address, got, want)
		}
	}
}

func TestPasswords(t *testing.T) {
	hash := hashPassword("correct horse")
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") || !verifyPassword(hash, "correct horse") || verifyPassword(hash, "wrong") {
		t.Errorf("hash %s", hash)
	}
	for _, bad := range []string{"", "$", "$argon2id$v=19$m=x$a$b", "$argon2i$v=19$m=1,t=1,p=1$YQ$YQ", "$argon2id$v=19$m=8,t=1,p=1$YQ$"} {
		if verifyPassword(bad, "x") {
			t.Errorf("verifyPassword(%q) accepts", bad)
		}
	}
	if verifyPassword(hash, strings.Repeat("x", maxPassword+1)) {
		t.Error("a megabyte is not hashed")
	}
}
