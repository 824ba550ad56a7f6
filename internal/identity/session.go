package identity

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

const (
	// graceOfRenewed is how long the token before a renewal is still good.
	graceOfRenewed = time.Minute
	// seenEvery is how exactly it is known when a session was last used: a write
	// for each request would cost more than the request.
	seenEvery = time.Minute
	// maxSessions is how many sessions one user has at most; the oldest ends.
	maxSessions = 100
)

// actor is who acts as a session's user, where that is somebody else.
type actor struct {
	AuthType string `json:"auth_type"`
	ID       string `json:"id"`
	Name     string `json:"name"`
	Email    string `json:"email"`
}

type sessionRow struct {
	id                     string
	user                   state.ObjectID
	actor                  *actor // nil for the user
	method                 string
	current, previous      string // ids of tokens
	previousUntil          time.Time
	created, seen, expires time.Time
	clientIP, userAgent    string
	bound                  bound
	superseded             bool // whether the token that was shown is the one before the last renewal
}

// SessionInfo is a session as people see it.
type SessionInfo struct {
	ID        string
	Method    string // how it was opened
	Actor     string // who acts as the user; empty for the user
	Created   time.Time
	Seen      time.Time // to the minute
	Expires   time.Time
	ClientIP  string
	UserAgent string
	Bound     Binding
}

func (i *Identity) newSession(by state.Cause, user state.ObjectID, method string, life time.Duration) sessionRow {
	now := time.Now()
	row := sessionRow{
		id: string(event.NewID()), user: user, method: method, current: string(event.NewID()),
		created: now, seen: now, expires: now.Add(life), clientIP: by.ClientIP,
	}
	if agent, ok := by.Request["user_agent"].(string); ok {
		row.userAgent = strings.ToValidUTF8(agent[:min(len(agent), 500)], "")
	}
	if i.binding != nil {
		row.bound.Binding = i.binding()
	}
	if !row.bound.none() {
		row.bound.Address, row.bound.At = by.ClientIP, i.locate(by.ClientIP)
	}
	return row
}

func (i *Identity) locate(address string) Place {
	if i.locator == nil {
		return Place{}
	}
	return i.locator.Locate(address)
}

const sessionColumns = `id, user_id, actor, method, current_jti, previous_jti, previous_until, created, seen, expires, client_ip, user_agent, bound`

func scanSession(scan func(...any) error) (sessionRow, error) {
	var r sessionRow
	var actorDoc, boundDoc string
	var until, created, seen, expires int64
	if err := scan(&r.id, &r.user, &actorDoc, &r.method, &r.current, &r.previous, &until, &created, &seen, &expires, &r.clientIP, &r.userAgent, &boundDoc); err != nil {
		return r, err
	}
	r.previousUntil, r.created, r.seen, r.expires = time.Unix(0, until), time.Unix(0, created), time.Unix(0, seen), time.Unix(0, expires)
	if actorDoc != "" {
		if err := json.Unmarshal([]byte(actorDoc), &r.actor); err != nil {
			return r, fmt.Errorf("session %s: %w", r.id, err)
		}
	}
	if err := json.Unmarshal([]byte(boundDoc), &r.bound); err != nil {
		return r, fmt.Errorf("session %s: %w", r.id, err)
	}
	return r, nil
}

func putSession(tx *state.Tx, r sessionRow) error {
	who := ""
	if r.actor != nil {
		doc, err := json.Marshal(r.actor)
		if err != nil {
			return fmt.Errorf("session: %w", err)
		}
		who = string(doc)
	}
	doc, err := json.Marshal(r.bound)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	_, err = tx.ExecContext(tx.Context(), `INSERT INTO sessions (`+sessionColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		r.id, int64(r.user), who, r.method, r.current, r.previous, 0, r.created.UnixNano(), r.seen.UnixNano(), r.expires.UnixNano(),
		r.clientIP, r.userAgent, string(doc))
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	return nil
}

func renewSession(tx *state.Tx, r sessionRow) error {
	done, err := tx.ExecContext(tx.Context(), `UPDATE sessions SET current_jti = $2, previous_jti = $3, previous_until = $4, seen = $5, expires = $6
		WHERE id = $1 AND current_jti = $3`, r.id, r.current, r.previous, r.previousUntil.UnixNano(), r.seen.UnixNano(), r.expires.UnixNano())
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return errors.Join(errRenewed, err)
	}
	return nil
}

// session finds the session that a sign-in token names, and its user. A binding
// that is broken ends it.
func (i *Identity) session(ctx context.Context, by state.Cause, token string) (sessionRow, state.Record[User], error) {
	var user state.Record[User]
	c, err := i.parse(token)
	if err != nil {
		return sessionRow{}, user, err
	}
	row, err := scanSession(i.state.Reader().QueryRowContext(ctx, `SELECT `+sessionColumns+` FROM sessions WHERE id = $1`, c.Session).Scan)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return row, user, fmt.Errorf("session: %w", err)
	}
	now := time.Now()
	gone := err != nil || row.user.String() != c.Subject || c.ID != row.current && (c.ID != row.previous || now.After(row.previousUntil))
	if !gone {
		if user, err = users.Get(ctx, i.state.Reader(), row.user); err != nil && !errors.Is(err, event.ErrNotFound) {
			return row, user, err
		}
		gone = err != nil || user.Value.Epoch != c.Epoch || !user.Value.active()
	}
	if gone {
		i.suspicious(ctx, by, "a revoked token was used: sign-in token of user "+c.Subject)
		return row, user, event.Deniedf("the token was revoked")
	}
	row.superseded = c.ID != row.current
	if now.After(row.expires) {
		return row, user, event.Deniedf("the token is not valid or has expired")
	}
	if err := i.checkBinding(ctx, by, row, user); err != nil {
		return row, user, err
	}
	if now.Sub(row.seen) > seenEvery {
		err = i.state.Write(ctx, by, func(tx *state.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE sessions SET seen = $2, client_ip = $3 WHERE id = $1`, row.id, now.UnixNano(), by.ClientIP)
			return err
		})
		if err != nil {
			i.log.WarnContext(ctx, "use of a session is not noted", "err", err)
		}
	}
	return row, user, nil
}

// errEnded is what somebody is told whose session is gone.
var errEnded = event.Deniedf("the session has ended: sign in again")

// bySession is who has an open session.
func (i *Identity) bySession(ctx context.Context, id string) (*Principal, error) {
	row, err := scanSession(i.state.Reader().QueryRowContext(ctx, `SELECT `+sessionColumns+` FROM sessions WHERE id = $1`, id).Scan)
	if errors.Is(err, sql.ErrNoRows) || err == nil && time.Now().After(row.expires) {
		return nil, errEnded
	}
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	user, err := users.Get(ctx, i.state.Reader(), row.user)
	if errors.Is(err, event.ErrNotFound) || err == nil && !user.Value.active() {
		return nil, errEnded
	}
	if err != nil {
		return nil, err
	}
	return i.principal(ctx, row, user)
}

// checkBinding ends a session that is used from where it must not be.
func (i *Identity) checkBinding(ctx context.Context, by state.Cause, row sessionRow, user state.Record[User]) error {
	if row.bound.none() {
		return nil
	}
	b := row.bound.check(by.ClientIP, i.locate(by.ClientIP))
	if b == nil {
		return nil
	}
	err := i.state.Write(ctx, asUser(by, user), func(tx *state.Tx) error {
		return i.endSession(tx, row, user, map[string]any{
			"reason":  "the binding of the session is broken: " + b.Reason,
			"binding": map[string]any{"reason": b.Reason, "previous_value": b.Was, "new_value": b.Is},
			"ip":      map[string]any{"previous": row.bound.Address, "new": by.ClientIP},
		})
	})
	return errors.Join(event.Deniedf("the session has ended, because it is used from elsewhere: sign in again"), err)
}

// endSession removes a session and records its end: an impersonation_ended, or
// a logout with data. One that is gone already is no error and no event.
func (i *Identity) endSession(tx *state.Tx, row sessionRow, user state.Record[User], data map[string]any) error {
	done, err := tx.ExecContext(tx.Context(), `DELETE FROM sessions WHERE id = $1`, row.id)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return err
	}
	if row.actor != nil {
		return i.raiseEnded(tx, row, user, data["reason"])
	}
	return raiseAudit(tx, "logout", user.ID, data)
}

// endSessions ends all sessions of a user but one, with a logout for each.
func (i *Identity) endSessions(tx *state.Tx, user state.Record[User], keep, reason string) error {
	rows, err := sessionsOf(tx.Context(), tx, user.ID)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.id == keep {
			continue
		}
		if err := i.endSession(tx, row, user, map[string]any{"reason": reason}); err != nil {
			return err
		}
	}
	return nil
}

// makeRoom ends the oldest sessions of a user who has as many as one may.
func (i *Identity) makeRoom(tx *state.Tx, user state.Record[User]) error {
	rows, err := sessionsOf(tx.Context(), tx, user.ID)
	if err != nil || len(rows) < maxSessions {
		return err
	}
	for _, row := range rows[maxSessions-1:] {
		if err := i.endSession(tx, row, user, map[string]any{"reason": "the user has too many sessions"}); err != nil {
			return err
		}
	}
	return nil
}

func sessionsOf(ctx context.Context, q state.Querier, user state.ObjectID) ([]sessionRow, error) {
	return findSessions(ctx, q, `user_id = $1 AND expires > $2 ORDER BY created DESC`, int64(user), time.Now().UnixNano())
}

// findSessions reads the sessions for which a condition holds.
func findSessions(ctx context.Context, q state.Querier, where string, args ...any) ([]sessionRow, error) {
	rows, err := q.QueryContext(ctx, `SELECT `+sessionColumns+` FROM sessions WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	defer rows.Close()
	var all []sessionRow
	for rows.Next() {
		row, err := scanSession(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// Sessions lists the open sessions of a user, the newest first.
func (i *Identity) Sessions(ctx context.Context, who *Principal, user state.ObjectID) ([]SessionInfo, error) {
	if _, err := i.account(ctx, who, user); err != nil {
		return nil, err
	}
	rows, err := sessionsOf(ctx, i.state.Reader(), user)
	all := make([]SessionInfo, len(rows))
	for n, r := range rows {
		all[n] = SessionInfo{
			ID: r.id, Method: r.method, Created: r.created.UTC(), Seen: r.seen.UTC(), Expires: r.expires.UTC(),
			ClientIP: r.clientIP, UserAgent: r.userAgent, Bound: r.bound.Binding,
		}
		if r.actor != nil {
			all[n].Actor = r.actor.Name
		}
	}
	return all, err
}

// EndSession revokes one session of a user, at once.
func (i *Identity) EndSession(ctx context.Context, by state.Cause, who *Principal, user state.ObjectID, id string) error {
	u, err := i.account(ctx, who, user)
	if err != nil {
		return err
	}
	return i.end(ctx, by, u, id, "the session was revoked")
}

func (i *Identity) end(ctx context.Context, by state.Cause, u state.Record[User], id, reason string) error {
	return i.state.Write(ctx, by, func(tx *state.Tx) error {
		row, err := scanSession(tx.QueryRowContext(ctx, `SELECT `+sessionColumns+` FROM sessions WHERE id = $1 AND user_id = $2`, id, int64(u.ID)).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return event.NotFoundf("there is no session %q of user %s", id, u.Value.Username)
		}
		if err != nil {
			return fmt.Errorf("session: %w", err)
		}
		return i.endSession(tx, row, u, map[string]any{"reason": reason})
	})
}

// Logout ends the caller's session.
func (i *Identity) Logout(ctx context.Context, by state.Cause, who *Principal) error {
	if who.Session == "" {
		return event.Invalidf("only a session from signing in can be ended: revoke a token with DELETE /v1/tokens/{id}")
	}
	u, err := users.Get(ctx, i.state.Reader(), who.User)
	if err != nil {
		return err
	}
	return i.end(ctx, by, u, who.Session, "signed out")
}
