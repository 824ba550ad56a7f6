package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"database/sql"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Parameters of one-time passwords (RFC 6238): those that every app knows.
const (
	totpPeriod    = 30 // seconds
	totpSkew      = 1  // steps that a clock may be off
	recoveryCodes = 10
	recoveryBytes = 10 // 80 bits: not to be guessed from the hash
)

// errOTP is a one-time password or recovery code that is wrong or was used.
var errOTP = event.Deniedf("the one-time password is wrong, or was used")

// TOTP says how a user's second factor stands.
type TOTP struct {
	Enabled       bool
	Pending       bool // a seed waits to be confirmed
	RecoveryCodes int  // that are left
}

// TOTP tells how a user's second factor stands.
func (i *Identity) TOTP(ctx context.Context, who *Principal, id state.ObjectID) (t TOTP, err error) {
	u, err := i.account(ctx, who, id)
	if err != nil {
		return t, err
	}
	t.Enabled = u.Value.TwoFactor
	_, _, confirmed, err := i.seedOf(ctx, i.state.Reader(), id)
	if err == nil {
		t.Pending = !confirmed
	} else if !errors.Is(err, event.ErrNotFound) {
		return t, err
	}
	err = i.state.Reader().QueryRowContext(ctx, `SELECT count(*) FROM recovery_codes WHERE user_id = $1`, int64(id)).Scan(&t.RecoveryCodes)
	return t, err
}

// BeginTOTP makes a seed, which is told this once. It counts from ConfirmTOTP
// on. Users do this for themselves alone.
func (i *Identity) BeginTOTP(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID) (secret, uri string, err error) {
	u, err := i.ownAccount(ctx, who, id)
	if err != nil {
		return "", "", err
	}
	if u.Value.TwoFactor {
		return "", "", event.Conflictf("two-factor authentication is on: turn it off first")
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "Tocsin", AccountName: u.Value.Username})
	if err != nil {
		return "", "", fmt.Errorf("seed: %w", err)
	}
	sealed := i.seal.Close(seedPurpose(id), key.Secret())
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO second_factors (user_id, seed, confirmed, last_step) VALUES ($1, $2, 0, 0)
			ON CONFLICT (user_id) DO UPDATE SET seed = $2, confirmed = 0, last_step = 0`, int64(id), sealed)
		return err
	})
	return key.Secret(), key.URL(), err
}

// ownAccount is the caller's own account, for what nobody does for another.
func (i *Identity) ownAccount(ctx context.Context, who *Principal, id state.ObjectID) (state.Record[User], error) {
	u, err := i.account(ctx, who, id)
	if err != nil {
		return u, err
	}
	if who.User != id {
		return u, event.Deniedf("only user %s can do that, for themselves", u.Value.Username)
	}
	return u, errors.Join(who.own("credentials"), who.fresh(id))
}

// ConfirmTOTP turns the second factor on by its first code, and returns the
// recovery codes, which are told this once.
func (i *Identity) ConfirmTOTP(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID, code string) ([]string, error) {
	u, err := i.ownAccount(ctx, who, id)
	if err != nil {
		return nil, err
	}
	if wait := i.slow.wait(by.ClientIP, u.Value.Username); wait > 0 {
		return nil, &SlowDown{wait}
	}
	codes, hashes := newRecoveryCodes()
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		seed, last, confirmed, err := i.seedOf(ctx, tx, id)
		if errors.Is(err, event.ErrNotFound) || confirmed {
			return event.Conflictf("there is no seed to confirm: POST to totp first")
		}
		if err != nil {
			return err
		}
		step := matchTOTP(seed, code, time.Now(), last)
		if step == 0 {
			return errOTP
		}
		if _, err := tx.ExecContext(ctx, `UPDATE second_factors SET confirmed = $2, last_step = $3 WHERE user_id = $1`, int64(id), time.Now().UnixNano(), step); err != nil {
			return err
		}
		if err := putRecoveryCodes(tx, id, hashes); err != nil {
			return err
		}
		r, err := users.Update(tx, id, state.AnyVersion, func(u *User) error { u.TwoFactor = true; return nil })
		if err != nil {
			return err
		}
		return raiseUser(tx, "user.2fa.enabled", r, "Two-factor authentication enabled")
	})
	if errors.Is(err, errOTP) {
		i.slow.failed(by.ClientIP, u.Value.Username)
		return nil, event.Invalidf("otp: the code is wrong: is the clock of the device right?")
	}
	return codes, err
}

// DisableTOTP turns the second factor off: users for themselves, administrators
// for those who have lost theirs.
func (i *Identity) DisableTOTP(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID) error {
	if _, err := i.account(ctx, who, id); err != nil {
		return err
	}
	if err := errors.Join(who.own("two-factor authentication"), who.fresh(id)); err != nil {
		return err
	}
	return i.state.Write(ctx, by, func(tx *state.Tx) error {
		for _, table := range []string{"second_factors", "recovery_codes"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE user_id = $1`, int64(id)); err != nil {
				return err
			}
		}
		was := false
		r, err := users.Update(tx, id, state.AnyVersion, func(u *User) error {
			was, u.TwoFactor = u.TwoFactor, false
			return nil
		})
		if err != nil || !was {
			return err
		}
		return raiseUser(tx, "user.2fa.disabled", r, "Two-factor authentication disabled")
	})
}

func seedPurpose(id state.ObjectID) string { return "totp seed of user " + id.String() }

func (i *Identity) seedOf(ctx context.Context, q state.Querier, id state.ObjectID) (seed string, last int64, confirmed bool, err error) {
	var sealed string
	var at int64
	err = q.QueryRowContext(ctx, `SELECT seed, last_step, confirmed FROM second_factors WHERE user_id = $1`, int64(id)).Scan(&sealed, &last, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return "", 0, false, event.NotFoundf("user %d has no second factor", id)
	}
	if err == nil {
		seed, err = i.seal.Open(seedPurpose(id), sealed)
	}
	return seed, last, at != 0, err
}

// useOTP takes a one-time password or a recovery code, each of which is good
// once, and returns which it was: totp or recovery_code.
func (i *Identity) useOTP(tx *state.Tx, id state.ObjectID, code string) (device string, err error) {
	seed, last, confirmed, err := i.seedOf(tx.Context(), tx, id)
	if err != nil {
		return "", err
	}
	if step := matchTOTP(seed, code, time.Now(), last); step != 0 && confirmed {
		_, err := tx.ExecContext(tx.Context(), `UPDATE second_factors SET last_step = $2 WHERE user_id = $1`, int64(id), step)
		return "totp", err
	}
	r, err := tx.ExecContext(tx.Context(), `DELETE FROM recovery_codes WHERE user_id = $1 AND hash = $2`, int64(id), hashToken(normalCode(code)))
	if err != nil {
		return "", fmt.Errorf("recovery code: %w", err)
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		return "", errors.Join(errOTP, err)
	}
	return "recovery_code", nil
}

// matchTOTP is the step of time that a code belongs to, if it lies behind the
// last one that was used (RFC 6238, 5.2: a code is good once); 0 for none. It
// looks at every step, whichever fits.
func matchTOTP(seed, code string, now time.Time, last int64) int64 {
	code = strings.ReplaceAll(code, " ", "")
	found := int64(0)
	at := now.Unix() / totpPeriod
	for step := at - totpSkew; step <= at+totpSkew; step++ {
		want, err := hotp.GenerateCodeCustom(seed, uint64(step), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && step > last {
			found = step
		}
	}
	return found
}

func newRecoveryCodes() (codes, hashes []string) {
	for range recoveryCodes {
		b := make([]byte, recoveryBytes)
		_, _ = rand.Read(b) // never fails since Go 1.24
		text := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
		codes = append(codes, text[:4]+"-"+text[4:8]+"-"+text[8:12]+"-"+text[12:])
		hashes = append(hashes, hashToken(text))
	}
	return codes, hashes
}

// normalCode is a recovery code without what people add when they type it.
func normalCode(code string) string {
	return strings.NewReplacer("-", "", " ", "").Replace(strings.ToLower(code))
}

func putRecoveryCodes(tx *state.Tx, id state.ObjectID, hashes []string) error {
	if _, err := tx.ExecContext(tx.Context(), `DELETE FROM recovery_codes WHERE user_id = $1`, int64(id)); err != nil {
		return fmt.Errorf("recovery codes: %w", err)
	}
	for _, h := range hashes {
		if _, err := tx.ExecContext(tx.Context(), `INSERT INTO recovery_codes (user_id, hash) VALUES ($1, $2)`, int64(id), h); err != nil {
			return fmt.Errorf("recovery codes: %w", err)
		}
	}
	return nil
}
