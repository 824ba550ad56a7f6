package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// mute is a person who no longer wants to be told by a rule.
type mute struct {
	Rule string `json:"rule"`
	User string `json:"user"`
}

var mutes = state.Collection[mute]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "notify", Model: "mute",
	Name: func(m *mute) string { return "rule " + m.Rule + " for user " + m.User },
	Keys: func(m *mute) map[string]string { return map[string]string{"of": m.Rule + "/" + m.User} },
}

// unsubscribeURL is where a person ends the mails of a rule (RFC 8058). Whoever
// has the link can do that and nothing else.
func (n *Notify) unsubscribeURL(rule, user state.ObjectID) string {
	return fmt.Sprintf("%s/unsubscribe?of=%s.%s.%s", strings.TrimRight(n.o.PublicURL, "/"), rule, user, n.signature(rule.String(), user.String()))
}

func (n *Notify) signature(rule, user string) string {
	mac := hmac.New(sha256.New, n.linkKey)
	mac.Write([]byte(rule + "." + user))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:18])
}

// Unsubscribe keeps a rule from telling the person to whom a link was sent, and
// names the rule. by is who came with it.
func (n *Notify) Unsubscribe(ctx context.Context, by state.Cause, of string) (string, error) {
	r, user, err := n.readLink(ctx, of)
	if err != nil {
		return "", err
	}
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		return putMute(tx, mute{r.ID.String(), user})
	})
	return r.Value.Name, err
}

// putMute stores a mute, once.
func putMute(tx *state.Tx, m mute) error {
	_, err := mutes.Find(tx.Context(), tx, "of", m.Rule+"/"+m.User)
	if errors.Is(err, event.ErrNotFound) {
		_, err = mutes.Insert(tx, m)
	}
	return err
}

// UnsubscribeFrom names the rule of a link, for the page that asks.
func (n *Notify) UnsubscribeFrom(ctx context.Context, of string) (string, error) {
	r, _, err := n.readLink(ctx, of)
	return r.Value.Name, err
}

func (n *Notify) readLink(ctx context.Context, of string) (r state.Record[Rule], user string, err error) {
	parts := strings.Split(of, ".")
	if len(parts) != 3 || !hmac.Equal([]byte(parts[2]), []byte(n.signature(parts[0], parts[1]))) {
		return r, "", event.NotFoundf("this link is not one of ours, or was cut off: open it as it stands in the mail")
	}
	id, err := state.ParseID(parts[0])
	if err != nil {
		return r, "", err
	}
	r, err = n.GetRule(ctx, id)
	return r, parts[1], err
}

// Resubscribe lets a rule tell a person again.
func (n *Notify) Resubscribe(ctx context.Context, by state.Cause, rule, user state.ObjectID) error {
	return n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		m, err := mutes.Find(ctx, tx, "of", rule.String()+"/"+user.String())
		if err != nil {
			return err
		}
		_, err = mutes.Delete(tx, m.ID, state.AnyVersion)
		return err
	})
}

// Muted are the rules that a person does not want to hear.
func (n *Notify) Muted(ctx context.Context, user state.ObjectID) ([]state.ObjectID, error) {
	var found []state.ObjectID
	err := eachOf(ctx, n.o.State.Reader(), &mutes, func(m state.Record[mute]) error {
		if m.Value.User == user.String() {
			id, err := state.ParseID(m.Value.Rule)
			found = append(found, id)
			return err
		}
		return nil
	})
	return found, err
}

// shortHash names what a text is, in 32 hexadecimal digits.
func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}
