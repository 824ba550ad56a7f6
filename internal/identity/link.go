package identity

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/redact"
	"github.com/tocsin-events/tocsin/internal/state"
)

// masked stands for a link's secret in what is recorded.
const masked = redact.Mask

// purpose is what a link is good for: one is no use in another's place.
type purpose string

const (
	resetLink  purpose = "reset"
	verifyLink purpose = "verify"
)

// errLink is what every wrong link says: an unknown, used or late one.
var errLink = event.Invalidf("token: this link was used, has expired, or never was")

// foundLink is what stands behind a link.
type foundLink struct {
	user  state.ObjectID
	value string
}

// newLink makes the secret of a link. Only its hash is kept.
func newLink(tx *state.Tx, p purpose, user state.ObjectID, value string, life time.Duration) (string, error) {
	secret := randomSecret("")
	_, err := tx.ExecContext(tx.Context(), `INSERT INTO links (hash, purpose, user_id, value, expires) VALUES ($1, $2, $3, $4, $5)`,
		hashToken(secret), string(p), int64(user), value, time.Now().Add(life).UnixNano())
	if err != nil {
		return "", fmt.Errorf("link: %w", err)
	}
	return secret, nil
}

func findLink(ctx context.Context, q state.Querier, p purpose, secret string) (foundLink, error) {
	var f foundLink
	err := q.QueryRowContext(ctx, `SELECT user_id, value FROM links WHERE hash = $1 AND purpose = $2 AND expires > $3`,
		hashToken(secret), string(p), time.Now().UnixNano()).Scan(&f.user, &f.value)
	if errors.Is(err, sql.ErrNoRows) {
		return f, errLink
	}
	return f, err
}

// useLink takes a link, of which only one caller can have the use.
func useLink(tx *state.Tx, p purpose, secret string) error {
	r, err := tx.ExecContext(tx.Context(), `DELETE FROM links WHERE hash = $1 AND purpose = $2 AND expires > $3`,
		hashToken(secret), string(p), time.Now().UnixNano())
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		return errors.Join(errLink, err)
	}
	return nil
}

// dropLinks ends the links that a user has for a purpose.
func dropLinks(tx *state.Tx, user state.ObjectID, p purpose) error {
	if _, err := tx.ExecContext(tx.Context(), `DELETE FROM links WHERE user_id = $1 AND purpose = $2`, int64(user), string(p)); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}

// common holds those of the ten thousand
// most used passwords that are long enough for checkPassword, without the ones
// that isCommon computes.
const common = ` password123 password1234 passw0rd123 1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx3edc qwertyuiop qwerty12345 qwerty123456 qwertyuiop123
 asdfghjkl1 zxcvbnm123 iloveyou123 iloveyou12 administrator letmein123 welcome123 welcome1234 changeme123 changeme1234 adminadmin admin12345 admin123456
 administrator1 superman123 football123 baseball123 princess123 sunshine123 trustno1trustno1 q1w2e3r4t5 q1w2e3r4t5y6 1234qwerasdf qazwsxedcrfv
 qwerasdfzxcv passwordpassword secret1234 rootroot12 toortoor12 monkey12345 dragon12345 master12345 `

// isCommon reports whether a password in small letters is one of those that are
// guessed first: a known one, a run such as 1234567890, or few characters again
// and again.
func isCommon(small string) bool {
	if strings.Contains(strings.ReplaceAll(common, "\n", " "), " "+small+" ") {
		return true
	}
	kinds := map[rune]bool{}
	steps := 0
	var last rune
	for _, r := range small {
		kinds[r] = true
		if d := r - last; d == 1 || d == -1 || d == 0 || last == '9' && r == '0' {
			steps++
		}
		last = r
	}
	return len(kinds) < 4 || steps >= len(small)-2
}

// sum is SHA-256 over parts whose lengths are part of it.
func sum(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil))
}
