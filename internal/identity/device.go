package identity

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// The device authorization grant (RFC 8628): a program without a browser shows a
// code, and somebody who is signed in elsewhere lets it in.

const (
	deviceLife     = 10 * time.Minute
	deviceInterval = 5 * time.Second // between two questions of a program
	maxDevices     = 1000            // that wait at once
)

// Clients are the programs that may ask, by their client_id, with the name that
// people are shown: a stranger's name could say anything.
func Clients() map[string]string { return map[string]string{"tocsin-cli": "Tocsin command line"} }

// OAuthError is a refusal as OAuth has them (RFC 6749, 5.2; RFC 8628, 3.5).
type OAuthError string

func (e OAuthError) Error() string { return string(e) }

// The refusals.
const (
	ErrPending       OAuthError = "authorization_pending"
	ErrSlowDown      OAuthError = "slow_down"
	ErrAccessDenied  OAuthError = "access_denied"
	ErrExpiredToken  OAuthError = "expired_token"
	ErrUnknownClient OAuthError = "invalid_client"
	ErrBusy          OAuthError = "temporarily_unavailable"
)

// Device is a program that asks to be let in.
type Device struct {
	UserCode string // what people compare, such as BDWP-HQPK
	ClientID string // of the program
	Client   string // its name
	ClientIP string // from where it asked
	Created  time.Time
	Expires  time.Time
}

// BeginDevice lets a program ask. The code is its secret.
func (i *Identity) BeginDevice(ctx context.Context, by state.Cause, clientID string) (code string, d Device, err error) {
	name, known := Clients()[clientID]
	if !known {
		return "", d, ErrUnknownClient
	}
	now := time.Now()
	code = randomSecret("")
	d = Device{UserCode: newUserCode(), ClientID: clientID, Client: name, ClientIP: by.ClientIP, Created: now, Expires: now.Add(deviceLife)}
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM devices WHERE expires < $1`, now.Add(-deviceLife).UnixNano()); err != nil {
			return fmt.Errorf("devices: %w", err)
		}
		var waiting int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM devices`).Scan(&waiting); err != nil {
			return fmt.Errorf("devices: %w", err)
		}
		if waiting >= maxDevices {
			return ErrBusy
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO devices (hash, user_code, client, client_ip, created, expires, polled, state, user_id) VALUES ($1, $2, $3, $4, $5, $6, 0, 'pending', 0)`,
			hashToken(code), d.UserCode, clientID, d.ClientIP, now.UnixNano(), d.Expires.UnixNano())
		if err != nil {
			return fmt.Errorf("devices: %w", err)
		}
		return nil
	})
	return code, d, err
}

// newUserCode makes a code of consonants, which spell no words and are not mixed
// up with digits (RFC 8628, 6.1): about 34 bits.
func newUserCode() string {
	const letters = "BCDFGHJKLMNPQRSTVWXZ"
	raw := make([]byte, 0, 9)
	for buf := make([]byte, 1); len(raw) < 9; {
		_, _ = rand.Read(buf) // never fails since Go 1.24
		if len(raw) == 4 {
			raw = append(raw, '-')
		}
		if int(buf[0]) < 256/len(letters)*len(letters) { // each letter is equally likely
			raw = append(raw, letters[int(buf[0])%len(letters)])
		}
	}
	return string(raw)
}

// plainCode is a user code as it is kept, however it was typed.
func plainCode(typed string) string {
	code := strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToUpper(typed))
	if len(code) != 8 {
		return ""
	}
	return code[:4] + "-" + code[4:]
}

// WaitingDevice finds the program behind a code, for who decides. Guessing is
// slowed like that of passwords.
func (i *Identity) WaitingDevice(ctx context.Context, by state.Cause, who *Principal, typed string) (Device, error) {
	guesser := "device of " + who.Name
	if wait := i.slow.wait(by.ClientIP, guesser); wait > 0 {
		return Device{}, &SlowDown{wait}
	}
	d, err := findDevice(ctx, i.state.Reader(), typed)
	if errors.Is(err, event.ErrNotFound) {
		i.slow.failed(by.ClientIP, guesser)
	}
	return d, err
}

func findDevice(ctx context.Context, q state.Querier, typed string) (d Device, err error) {
	var created, expires int64
	d.UserCode = plainCode(typed)
	err = q.QueryRowContext(ctx, `SELECT client, client_ip, created, expires FROM devices WHERE user_code = $1 AND state = 'pending' AND expires > $2`,
		d.UserCode, time.Now().UnixNano()).Scan(&d.ClientID, &d.ClientIP, &created, &expires)
	if errors.Is(err, sql.ErrNoRows) {
		return d, event.NotFoundf("no program waits with the code %q: it may have expired, ask for a new one", typed)
	}
	if err != nil {
		return d, fmt.Errorf("devices: %w", err)
	}
	d.Client, d.Created, d.Expires = Clients()[d.ClientID], time.Unix(0, created), time.Unix(0, expires)
	return d, nil
}

// DecideDevice lets a program in as the caller, or turns it away. Only a user's
// own session may decide: not a token, and not somebody who acts for another.
func (i *Identity) DecideDevice(ctx context.Context, by state.Cause, who *Principal, typed string, approve bool) error {
	if who.Session == "" || who.User == 0 || who.OnBehalfOf != "" {
		return event.Deniedf("sign in as yourself to let a program in")
	}
	return i.state.Write(ctx, linked(by), func(tx *state.Tx) error {
		d, err := findDevice(ctx, tx, typed)
		if err != nil {
			return err
		}
		decision := "denied"
		if approve {
			decision = "approved"
		}
		done, err := tx.ExecContext(ctx, `UPDATE devices SET state = $2, user_id = $3 WHERE user_code = $1 AND state = 'pending'`, d.UserCode, decision, int64(who.User))
		if err != nil {
			return fmt.Errorf("devices: %w", err)
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 || !approve {
			return err
		}
		var scopes []string
		for _, s := range who.Scopes {
			scopes = append(scopes, string(s))
		}
		return raiseAudit(tx, "authorize_application", who.User, map[string]any{
			"flow": "device", "scopes": strings.Join(scopes, " "),
			"authorized_application": map[string]any{"app": "tocsin_identity", "model_name": "application", "pk": d.ClientID, "name": d.Client},
		})
	})
}

// PollDevice answers a program that asks whether it was let in: with a session
// once, and with an OAuthError before and otherwise.
func (i *Identity) PollDevice(ctx context.Context, by state.Cause, clientID, code string) (s Session, err error) {
	hash := hashToken(code)
	var decided string
	var id state.ObjectID
	var expires, polled int64
	err = i.state.Reader().QueryRowContext(ctx, `SELECT state, user_id, expires, polled FROM devices WHERE hash = $1 AND client = $2`, hash, clientID).
		Scan(&decided, &id, &expires, &polled)
	if errors.Is(err, sql.ErrNoRows) {
		return s, ErrExpiredToken
	}
	if err != nil {
		return s, fmt.Errorf("devices: %w", err)
	}
	now := time.Now()
	switch {
	case now.UnixNano() > expires:
		return s, ErrExpiredToken
	case decided == "denied":
		return s, ErrAccessDenied
	case decided == "pending":
		return s, i.notePoll(ctx, by, hash, now.Sub(time.Unix(0, polled)) < deviceInterval-time.Second)
	}
	user, err := users.Get(ctx, i.state.Reader(), id)
	if err != nil || !user.Value.active() {
		return s, errors.Join(ErrAccessDenied, err)
	}
	err = i.state.Write(ctx, asUser(by, user), func(tx *state.Tx) error {
		done, err := tx.ExecContext(ctx, `DELETE FROM devices WHERE hash = $1`, hash)
		if err != nil {
			return fmt.Errorf("devices: %w", err)
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errors.Join(ErrExpiredToken, err) // somebody was quicker
		}
		s, err = i.enter(tx, user, "device: "+Clients()[clientID], "device_code", map[string]any{"client_id": clientID})
		return err
	})
	return s, err
}

// notePoll remembers when a program asked, and tells it to be patient.
func (i *Identity) notePoll(ctx context.Context, by state.Cause, hash string, early bool) error {
	err := i.state.Write(ctx, by, func(tx *state.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE devices SET polled = $2 WHERE hash = $1`, hash, time.Now().UnixNano())
		return err
	})
	switch {
	case err != nil:
		return err
	case early:
		return ErrSlowDown
	default:
		return ErrPending
	}
}
