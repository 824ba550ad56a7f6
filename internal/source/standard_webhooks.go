package source

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"mime"
	"regexp"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// Delivery: whatever signs by Standard Webhooks 1.0, Tocsin's own webhook
// transport among them. Signature: webhook-id, webhook-timestamp and
// webhook-signature (v1). What was signed more than five minutes ago, or was
// sent before, is refused; a retry is signed anew.
// Makes: of a CloudEvent, that event; of any other JSON, an event of the type in
// its member type, with the webhook-id as id, the member timestamp as time, and
// the whole body as data.
// Leaves out: asymmetric signatures (v1a).
// Reference: standardwebhooks.com.
func init() {
	registerPush("standard_webhooks", "Webhooks that are signed by Standard Webhooks, with CloudEvents or any JSON.",
		standardOptions{Enabled: true, Source: "urn:standard-webhooks", Type: "webhook"}, newStandard)
}

type standardOptions struct {
	Enabled    bool   `yaml:"enabled" doc:"Whether webhooks are taken."`
	SecretFile string `yaml:"secret_file" doc:"File with the secret (whsec_ and base64); several lines for several senders or secrets."`
	SecretEnv  string `yaml:"secret_env" doc:"Environment variable with the secret, in place of a file."`
	Source     string `yaml:"source" doc:"Source of the events that are made of other JSON than CloudEvents."`
	Type       string `yaml:"type" doc:"Their type, where the body has no member type that can be one."`
}

type standard struct {
	standardOptions
	keys []*standardwebhooks.Webhook
}

// leastKey is the shortest key that is taken, in bytes; the specification wants 24.
const leastKey = 16

func newStandard(o standardOptions) (Push, error) {
	probe := event.Event{ID: "1", Source: o.Source, Type: event.Type(o.Type)}
	if _, err := event.Decode(probe.AppendJSON(nil)); err != nil || !standardType.MatchString(o.Type) {
		return nil, event.Invalidf("source and type: %q and %q can't be those of an event", o.Source, o.Type)
	}
	s := &standard{standardOptions: o}
	secrets, err := loadSecrets(o.SecretFile, o.SecretEnv)
	if err != nil {
		return nil, err
	}
	for n, secret := range secrets {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(secret), "whsec_"))
		if err != nil || len(raw) < leastKey {
			return nil, event.Invalidf("secret %d is not whsec_ and the base64 of at least %d bytes", n+1, leastKey)
		}
		key, err := standardwebhooks.NewWebhookRaw(raw)
		if err != nil {
			return nil, event.Invalidf("secret %d: %w", n+1, err)
		}
		s.keys = append(s.keys, key)
	}
	return s, nil
}

// Terms implements Push.
func (s *standard) Terms() Terms { return Terms{Signed: s.keys != nil, Foreign: true} }

// Verify implements Push.
func (s *standard) Verify(r *Request) error {
	for _, name := range []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"} {
		if r.Header.Get(name) == "" {
			return &RefusedError{Missing: true, Why: "the header " + name + " is missing (Standard Webhooks)"}
		}
	}
	at, err := strconv.ParseInt(r.Header.Get("Webhook-Timestamp"), 10, 64)
	if err != nil {
		return &RefusedError{Why: "the header Webhook-Timestamp holds no time"}
	}
	good := false
	for _, key := range s.keys {
		err := key.VerifyIgnoringTimestamp(r.Body, r.Header)
		good = good || err == nil
	}
	if !good {
		return &RefusedError{Why: "the signature in Webhook-Signature is wrong"}
	}
	body, id := sha256.Sum256(r.Body), sha256.Sum256([]byte(r.Header.Get("Webhook-Id"))) // which may be long
	r.Nonce = strconv.FormatInt(at, 10) + " " + hex.EncodeToString(body[:]) + " " + hex.EncodeToString(id[:])
	return timely(time.Unix(at, 0), r.Received)
}

var standardType = regexp.MustCompile(`^[a-z][a-z0-9_]*([.-][a-z0-9_]+)*$`)

// Decode implements Push.
func (s *standard) Decode(r *Request) ([]event.Event, error) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	p, err := readPayload(r.Body)
	if media == event.JSONMedia || p.text("specversion") != "" {
		e, err := event.Decode(r.Body)
		return []event.Event{e}, err
	}
	if err != nil && scan.Valid(r.Body) != nil { // an array or a text will do, too
		return nil, err
	}
	e := event.Event{ID: event.ID(plainText(r.Header.Get("Webhook-Id"), 256)), Source: s.Source, Type: event.Type(s.Type), Data: r.Body}
	if t := p.text("type"); len(t) <= 128 && standardType.MatchString(t) {
		e.Type = event.Type(t)
	}
	if at, err := event.ParseTime(p.text("timestamp")); err == nil {
		e.Time = at
	}
	return []event.Event{e}, nil
}
