package identity

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// boss is a principal who may do everything, and is no user.
func boss() *Principal { return &Principal{AuthType: "system", ID: "uid/0", Scopes: []Scope{Admin}} }

func newUser(t *testing.T, i *Identity, name string, level Level) state.Record[User] {
	t.Helper()
	u, err := i.CreateUser(t.Context(), from(""), boss(), UserInput{Username: name, Email: name + "@example.com", AccessLevel: level})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Whatever is done to users in whatever order, their states follow a simple
// model, each step has its one event, and one administrator remains.
func TestUserStates(t *testing.T) {
	i, s := newIdentity(t)
	admin(t, i)
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		u := newUser(t, i, fmt.Sprintf("u%d", n), rapid.SampledFrom([]Level{Viewer, Operator, Administ}).Draw(r, "level"))
		suspended, archived := false, false
		steps := map[string]func() error{
			"user.suspended":   func() error { _, err := i.Suspend(t.Context(), from(""), boss(), u.ID, 0, ""); return err },
			"user.unsuspended": func() error { _, err := i.Unsuspend(t.Context(), from(""), boss(), u.ID, 0); return err },
			"user.archived":    func() error { _, err := i.Archive(t.Context(), from(""), boss(), u.ID, 0); return err },
			"user.unarchived":  func() error { _, err := i.Unarchive(t.Context(), from(""), boss(), u.ID, 0); return err },
		}
		for _, step := range rapid.SliceOfN(rapid.SampledFrom([]string{"user.suspended", "user.unsuspended", "user.archived", "user.unarchived"}), 1, 8).Draw(r, "steps") {
			may := map[string]bool{"user.suspended": !suspended, "user.unsuspended": suspended, "user.archived": !archived, "user.unarchived": archived}[step]
			before := lastSeq(t, s)
			err := steps[step]()
			if may != (err == nil) || !may && !errors.Is(err, event.ErrConflict) {
				r.Fatalf("%s of a user who is suspended=%v archived=%v: %v", step, suspended, archived, err)
			}
			types := typesAfter(t, s, before)
			if may != (len(types) > 0) || may && !slices.Equal(types, []string{"model_updated", step}) {
				r.Fatalf("%s raised %v", step, types)
			}
			if may {
				suspended = step == "user.suspended" || suspended && step != "user.unsuspended"
				archived = step == "user.archived" || archived && step != "user.unarchived"
			}
			now, err := i.GetUser(t.Context(), u.ID)
			if err != nil || now.Value.Suspended != suspended || now.Value.Archived != archived || now.Value.active() != (!suspended && !archived) {
				r.Fatalf("the user is %+v, %v", now.Value, err)
			}
		}
		if err := i.DeleteUser(t.Context(), from(""), boss(), u.ID, 0); err != nil {
			r.Fatal(err)
		}
		last := map[string]error{}
		_, last["suspend"] = i.Suspend(t.Context(), from(""), boss(), 1, 0, "")
		_, last["archive"] = i.Archive(t.Context(), from(""), boss(), 1, 0)
		_, last["demote"] = i.UpdateUser(t.Context(), from(""), boss(), 1, 0, func(in *UserInput) error { in.AccessLevel = Viewer; return nil })
		last["delete"] = i.DeleteUser(t.Context(), from(""), boss(), 1, 0)
		for what, err := range last {
			if !errors.Is(err, event.ErrConflict) {
				r.Fatalf("%s the last administrator: %v", what, err)
			}
		}
	})
}

func lastSeq(t *testing.T, s *state.State) int64 {
	t.Helper()
	var n int64
	if err := s.Reader().QueryRowContext(t.Context(), `SELECT coalesce(max(seq), 0) FROM outbox`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func typesAfter(t *testing.T, s *state.State, after int64) []string {
	t.Helper()
	rows, err := s.Outbox(t.Context(), after, 100)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, r := range rows {
		all = append(all, string(r.Event.Type))
	}
	return all
}

// Nobody gives what they do not have, and nobody acts upon those who have more.
func TestRights(t *testing.T) {
	i, _ := newIdentity(t)
	admin(t, i)
	ctx := t.Context()
	lesser := &Principal{AuthType: "user", ID: "99", Scopes: []Scope{Read, Emit}, User: 99}
	if _, err := i.CreateUser(ctx, from(""), lesser, UserInput{Username: "x", AccessLevel: Administ}); !errors.Is(err, event.ErrDenied) {
		t.Errorf("an administrator made by an operator: %v", err)
	}
	if _, err := i.CreateRole(ctx, from(""), lesser, Role{Name: "r", Scopes: []Scope{Admin}}); !errors.Is(err, event.ErrDenied) {
		t.Errorf("a role: %v", err)
	}
	if _, _, err := i.Invite(ctx, from(""), lesser, Invitation{AccessLevel: Administ}); !errors.Is(err, event.ErrDenied) {
		t.Errorf("an invitation: %v", err)
	}
	ann := newUser(t, i, "ann", Viewer)
	self := &Principal{AuthType: "user", ID: ann.ID.String(), Scopes: []Scope{Read}, User: ann.ID}
	for what, change := range map[string]func(*UserInput){
		"username": func(in *UserInput) { in.Username = "root" }, "access_level": func(in *UserInput) { in.AccessLevel = Administ },
		"groups": func(in *UserInput) { in.Groups = []string{"1"} },
	} {
		if _, err := i.UpdateUser(ctx, from(""), self, ann.ID, 0, func(in *UserInput) error { change(in); return nil }); !errors.Is(err, event.ErrDenied) {
			t.Errorf("%s by the user: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"another's account": func() error { _, err := i.Account(ctx, self, 1); return err }(),
		"another's API key": func() error { _, err := i.RegenerateAPIKey(ctx, from(""), self, 1); return err }(),
		"impersonation":     func() error { _, err := i.Impersonate(ctx, from(""), self, 1); return err }(),
	} {
		if !errors.Is(err, event.ErrDenied) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// A session that is not fresh changes no credentials.
	stale := *self
	stale.Session, stale.SignedIn = "s", time.Now().Add(-2*freshFor)
	if _, err := i.RegenerateAPIKey(ctx, from(""), &stale, ann.ID); !errors.Is(err, event.ErrDenied) {
		t.Errorf("a session of two hours: %v", err)
	}
	// Who wants a new password or address of their own gives the old password.
	if _, err := i.UpdateUser(ctx, from(""), boss(), ann.ID, 0, func(in *UserInput) error { in.Password = "the-first-one"; return nil }); err != nil {
		t.Fatal(err)
	}
	for current, want := range map[string]error{"": event.ErrInvalid, "wrong": event.ErrDenied, "the-first-one": nil} {
		_, err := i.UpdateUser(ctx, from(""), self, ann.ID, 0, func(in *UserInput) error {
			in.CurrentPassword, in.Email = current, "new"+current+"@example.com"
			return nil
		})
		if !errors.Is(err, want) {
			t.Errorf("current password %q: %v, want %v", current, err, want)
		}
	}
}

func TestPasswordRules(t *testing.T) {
	u := User{Username: "annabelle", Email: "annabelle.b@example.com"}
	for password, good := range map[string]bool{
		"short": false, "1234567890": false, "aaaaaaaaaaaa": false, "abcdefghijkl": false, "password123": false, "Password123": false, "abababababab": false,
		"annabelle1": false, "annabelle.b!": false, "tocsintocsin": false, strings.Repeat("x9Q!", 300): false,
		"correct horse": true, "correct-horse-battery": true, "9f8e7d6c5b": true, "ünïcödé wörds": true, "annabelle likes tea": true,
	} {
		if err := checkPassword(password, u); (err == nil) != good {
			t.Errorf("checkPassword(%.30q) = %v", password, err)
		}
	}
}

// A binding breaks at its first part that differs, and says which.
func TestBinding(t *testing.T) {
	at := Place{ASN: "6805", Network: "5.4.0.0/14", Continent: "EU", Country: "DE", City: "Bonn"}
	tests := []struct {
		b       Binding
		address string
		now     Place
		want    *broken
	}{
		{Binding{}, "x", Place{}, nil},
		{Binding{Network: "none", Place: "none"}, "x", Place{}, nil},
		{Binding{Network: "asn"}, "x", Place{ASN: "6805"}, nil},
		{Binding{Network: "asn"}, "x", Place{ASN: "1"}, &broken{"network.asn", "6805", "1"}},
		{Binding{Network: "network"}, "x", Place{ASN: "6805", Network: "5.8.0.0/14"}, &broken{"network.network", "5.4.0.0/14", "5.8.0.0/14"}},
		{Binding{Network: "address"}, "192.0.2.2", at, &broken{"network.address", "192.0.2.1", "192.0.2.2"}},
		{Binding{Network: "address", Place: "city"}, "192.0.2.1", at, nil},
		{Binding{Place: "continent"}, "x", Place{Continent: "EU", Country: "FR"}, nil},
		{Binding{Place: "country"}, "x", Place{Continent: "EU", Country: "FR"}, &broken{"geoip.country", "DE", "FR"}},
		{Binding{Place: "city"}, "x", Place{Continent: "EU", Country: "DE"}, &broken{"geoip.city", "Bonn", ""}},
		{Binding{Network: "asn", Place: "continent"}, "x", Place{ASN: "6805", Continent: "NA"}, &broken{"geoip.continent", "EU", "NA"}},
	}
	for _, tt := range tests {
		b := bound{Binding: tt.b, Address: "192.0.2.1", At: at}
		got := b.check(tt.address, tt.now)
		if (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
			t.Errorf("%+v from %s, %+v: %+v, want %+v", tt.b, tt.address, tt.now, got, tt.want)
		}
	}
	if (Binding{Network: "postcode"}).Validate() == nil || (Binding{Place: "street"}).Validate() == nil || (Binding{}).Validate() != nil {
		t.Error("Validate")
	}
}

// One-time codes are good for their step and its neighbours, and once.
func TestMatchTOTP(t *testing.T) {
	const seed = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" // RFC 6238, appendix B, in base32
	now := time.Unix(59, 0)                         // its first row, cut to six digits: 287082
	tests := []struct {
		code string
		at   time.Time
		last int64
		want int64
	}{
		{"287082", now, 0, 1},
		{"287 082", now, 0, 1},
		{"287082", now, 1, 0},
		{"287082", now.Add(30 * time.Second), 0, 1},
		{"287082", now.Add(90 * time.Second), 0, 0},
		{"287083", now, 0, 0},
		{"", now, 0, 0},
		{"2870820", now, 0, 0},
		{"081804", time.Unix(1111111109, 0), 0, 37037036},
	}
	for _, tt := range tests {
		if got := matchTOTP(seed, tt.code, tt.at, tt.last); got != tt.want {
			t.Errorf("matchTOTP(%q, %s, %d) = %d, want %d", tt.code, tt.at.UTC(), tt.last, got, tt.want)
		}
	}
}

// What is written into the header is read out of it; and nothing else is taken.
func FuzzParseSignature(f *testing.F) {
	good := Signature{Time: time.Unix(1, 0), Nonce: "0123456789abcdef", Blob: []byte("x")}
	_, text, _ := strings.Cut(good.Header(), " ")
	f.Add(text)
	f.Add("t=1,nonce=,sha256=,sig=")
	f.Add(text + ",t=2")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSignature(text)
		if err != nil {
			if !errors.Is(err, event.ErrDenied) {
				t.Fatalf("error %v is of no class", err)
			}
			return
		}
		again, err := ParseSignature(strings.TrimPrefix(s.Header(), SignatureScheme+" "))
		if err != nil || again.Nonce != s.Nonce || again.Digest != s.Digest || !again.Time.Equal(s.Time) || string(again.Blob) != string(s.Blob) {
			t.Fatalf("%q is read as %+v, then as %+v, %v", text, s, again, err)
		}
	})
}
