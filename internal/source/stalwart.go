package source

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// Delivery: the webhooks of the mail server Stalwart, in batches. Signature:
// X-Signature, the HMAC-SHA256 of the body in base64; or HTTP authentication.
// Makes: mail_quarantined (seed 000), login and login_failed (seed 003); all else
// becomes stalwart. and Stalwart's own name: stalwart.security.ip-blocked.
// Ids are made of the content: Stalwart gives an event another id when it sends
// it again. Alike events of one batch are told apart by their order.
// Leaves out: mail_throttle_suspended. Stalwart says that a limit was hit; the
// source of that name reads it here, and counts by sender.
// Reference: stalw.art/docs/telemetry/webhooks, stalw.art/docs/api/webhooks.
func init() {
	registerPush("stalwart", "Webhooks of the mail server Stalwart.", stalwartOptions{Enabled: true}, newStalwart)
}

type stalwartOptions struct {
	Enabled    bool   `yaml:"enabled" doc:"Whether webhooks are taken."`
	SecretFile string `yaml:"secret_file" doc:"File with the webhook's signature key; several lines for several keys."`
	SecretEnv  string `yaml:"secret_env" doc:"Environment variable with the key, in place of a file."`
}

type stalwart struct{ keys [][]byte }

func newStalwart(o stalwartOptions) (Push, error) {
	keys, err := loadSecrets(o.SecretFile, o.SecretEnv)
	return &stalwart{keys}, err
}

// Terms implements Push.
func (s *stalwart) Terms() Terms { return Terms{Signed: s.keys != nil, Many: true} }

// Verify implements Push.
func (s *stalwart) Verify(r *Request) error {
	const header = "X-Signature"
	text := r.Header.Get(header)
	if text == "" {
		return &RefusedError{Missing: true, Why: "the header " + header + " is missing: give the webhook its signature key"}
	}
	signature, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !signedWith(s.keys, signature, r.Body) {
		return &RefusedError{Why: "the signature in " + header + " is wrong"}
	}
	return nil
}

// stalwartEvent is one event of a batch.
type stalwartEvent struct {
	CreatedAt string          `json:"createdAt"`
	Type      string          `json:"type"`
	Text      string          `json:"text"`
	Data      json.RawMessage `json:"data"`
}

var stalwartType = regexp.MustCompile(`^[a-z0-9]+([.-][a-z0-9]+)*$`)

// Decode implements Push.
func (s *stalwart) Decode(r *Request) ([]event.Event, error) {
	if err := scan.Valid(r.Body); err != nil {
		return nil, event.Invalidf("body: %w", err)
	}
	var batch struct {
		Events *[]stalwartEvent `json:"events"`
	}
	if err := json.Unmarshal(r.Body, &batch); err != nil || batch.Events == nil {
		return nil, event.Invalidf("body: must be an object whose member events is a list of events with createdAt, type and data")
	}
	seen := map[string]int{}
	events := make([]event.Event, 0, len(*batch.Events))
	for n := range *batch.Events {
		in := &(*batch.Events)[n]
		e, err := in.event()
		if err != nil {
			return nil, event.Invalidf("events[%d].%w", n, err)
		}
		id := in.id()
		seen[id]++
		if seen[id] > 1 {
			id += "-" + strconv.Itoa(seen[id])
		}
		e.ID = event.ID(id)
		events = append(events, e)
	}
	return events, nil
}

// id is made of what stays the same when an event is sent again.
func (s *stalwartEvent) id() string {
	var data bytes.Buffer
	_ = json.Compact(&data, s.Data) // it is valid: the body is
	sum := sha256.Sum256([]byte(s.Type + "\n" + s.CreatedAt + "\n" + data.String()))
	return hex.EncodeToString(sum[:16])
}

// event makes an event. Errors begin with the member at fault.
func (s *stalwartEvent) event() (event.Event, error) {
	at, err := event.ParseTime(s.CreatedAt)
	if err != nil {
		return event.Event{}, event.Invalidf("createdAt: %w", err)
	}
	if len(s.Type) > 100 || !stalwartType.MatchString(s.Type) {
		return event.Event{}, event.Invalidf("type: not one of Stalwart's names")
	}
	if len(s.Data) == 0 || string(s.Data) == "null" {
		s.Data = json.RawMessage("{}")
	}
	p, err := readPayload(s.Data)
	if err != nil {
		return event.Event{}, event.Invalidf("data: must be an object")
	}
	e := event.Event{Time: at, Type: event.Type("stalwart." + s.Type), Severity: stalwartSeverity(s.Type), Subject: stalwartSubject(p)}
	if ip, err := netip.ParseAddr(p.text("remoteIp")); err == nil {
		e.ClientIP = ip.String()
	}
	e.AuthType, e.AuthName = "system", "stalwart"
	if account := p.text("accountName"); account != "" {
		e.AuthType, e.AuthName = "user", account
	}
	data := map[string]any{"stalwart": s.Data, "stalwart_type": s.Type}
	switch s.Type {
	case "auth.success":
		e.Type, e.Severity = "login", event.Info
		data["auth_method"] = "mail"
	case "auth.failed":
		e.Type, e.Severity, e.AuthType = "login_failed", event.Warn, "unauthenticated"
		data["username"], data["reason"] = p.text("accountName"), firstText(p.text("reason"), plainText(s.Text, 256), "authentication failed")
		data["stage"] = map[string]any{"name": "stalwart"}
	case "mta-hook.action-quarantine", "message-ingest.spam":
		e.Type, e.Severity = "mail_quarantined", event.Notice
		stalwartMail(data, s.Type, p)
	default:
		e.Data = s.Data
		return e, nil
	}
	e.Data, err = json.Marshal(data)
	return e, err
}

// stalwartMail adds the fields of mail_quarantined.
func stalwartMail(data map[string]any, typ string, p payload) {
	data["mta"] = "stalwart"
	data["reason"] = firstText(p.text("reason"), typ)
	for field, name := range map[string]string{"message_id": "messageId", "queue_id": "queueId", "sender": "from", "subject": "subject"} {
		if text := p.text(name); text != "" {
			data[field] = text
		}
	}
	var to []string
	switch v := p["to"].(type) {
	case string:
		to = []string{v}
	case []any:
		for _, one := range v {
			if text, ok := one.(string); ok {
				to = append(to, text)
			}
		}
	}
	if to != nil {
		data["recipients"] = to
	}
	if score, err := strconv.ParseFloat(p.text("score"), 64); err == nil {
		data["score"] = score
	}
}

// stalwartSubject is what an event is about.
func stalwartSubject(p payload) string {
	for _, m := range [][2]string{{"queueId", "message"}, {"messageId", "message"}, {"accountName", "user"}, {"domain", "domain"}, {"hostname", "host"}, {"remoteIp", "address"}} {
		if text := p.text(m[0]); text != "" {
			return m[1] + "/" + text
		}
	}
	return "stalwart"
}

// stalwartSeverity goes by the name: webhooks do not say the level.
func stalwartSeverity(typ string) event.Severity {
	has := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(typ, part) {
				return true
			}
		}
		return false
	}
	switch {
	case strings.HasPrefix(typ, "security."), has("too-many", "limit-exceeded", "banned", "blocked"):
		return event.Warn
	case has("error", "failure"):
		return event.Error
	case has("failed", "reject", "invalid", "timeout", "expired"):
		return event.Warn
	}
	return event.Info
}

// firstText is the first text that is not empty.
func firstText(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
