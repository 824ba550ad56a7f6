package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: rspamd's metadata exporter with the backend http and the formatter
// json, a request for each message. Proof: the exporter's user and password, by
// HTTP basic authentication; the password is the secret.
// Makes: mail_quarantined for the actions that mean it here; rspamd.ratelimit for a
// message that a rate limit has held back, which mail_throttle_suspended counts by
// sender; for another action rspamd. and its name, such as rspamd.add_header.
// Leaves out: messages on which nothing was done (no action); headers of the
// message beside its subject.
// Reference: rspamd.com/doc/modules/metadata_exporter.html.
func init() {
	registerPush("rspamd", "What rspamd does with mail, by its metadata exporter.", rspamdOptions{
		Enabled: true, Quarantined: []string{"reject", "quarantine"}, Ratelimit: "R_RATELIMIT",
	}, newRspamd)
}

type rspamdOptions struct {
	Enabled     bool     `yaml:"enabled" doc:"Whether what the exporter sends is taken."`
	SecretFile  string   `yaml:"secret_file" doc:"File with the exporter's password; several lines for several passwords."`
	SecretEnv   string   `yaml:"secret_env" doc:"Environment variable with the password, in place of a file."`
	Quarantined []string `yaml:"quarantined" doc:"Actions of rspamd that mean quarantine here: with quarantine_on_reject, reject does."`
	Ratelimit   string   `yaml:"ratelimit" doc:"Beginning of the symbols that say that a rate limit was hit; info_symbol of rspamd's ratelimit module sets one."`
}

type rspamd struct {
	rspamdOptions
	secrets [][]byte
}

func newRspamd(o rspamdOptions) (Push, error) {
	if o.Ratelimit == "" {
		return nil, event.Invalidf("ratelimit: name the beginning of a symbol, such as R_RATELIMIT")
	}
	secrets, err := loadSecrets(o.SecretFile, o.SecretEnv)
	return &rspamd{o, secrets}, err
}

// Terms implements Push.
func (s *rspamd) Terms() Terms { return Terms{Signed: s.secrets != nil} }

// Verify implements Push.
func (s *rspamd) Verify(r *Request) error { return bearing(s.secrets, r, "Authorization") }

// rspamdNothing is the action on a message with which nothing is done.
const rspamdNothing = "no action"

// Decode implements Push.
func (s *rspamd) Decode(r *Request) ([]event.Event, error) {
	p, err := readPayload(r.Body)
	if err != nil {
		return nil, err
	}
	action, _ := p["action"].(string)
	name := strings.Map(func(c rune) rune {
		switch {
		case c == ' ' || c == '-':
			return '_'
		case c == '_' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			return c
		}
		return -1
	}, strings.ToLower(action))
	if name == "" || len(action) > 60 {
		return nil, event.Invalidf("action: is not an action of rspamd: use the exporter's formatter json")
	}
	if action == rspamdNothing {
		return nil, nil
	}
	m := readRspamd(p)
	sum := sha256.Sum256(r.Body)
	e := event.Event{ID: event.ID(hex.EncodeToString(sum[:16])), Subject: m.subjectOf(), AuthType: "system", AuthName: "rspamd", Severity: event.Info}
	if ip, err := netip.ParseAddr(p.text("ip")); err == nil {
		e.ClientIP = ip.String()
	}
	data := m.data
	data["action"] = plainText(action, 60)
	limit := m.symbol(s.Ratelimit)
	switch {
	case slices.Contains(s.Quarantined, action):
		e.Type, e.Severity = "mail_quarantined", event.Notice
		data["reason"] = m.reason(action)
	case limit != nil:
		e.Type = "rspamd.ratelimit"
		data["sender"], data["limit"] = m.throttled(), limit.option()
	default:
		e.Type = event.Type("rspamd." + name)
	}
	e.Data, err = json.Marshal(data)
	return []event.Event{e}, err
}

// rspamdMessage is what the exporter says about a message.
type rspamdMessage struct {
	data    map[string]any // the fields of mail_quarantined, and more
	user    string         // who has signed in; empty for nobody
	address string
	symbols []rspamdSymbol
}

type rspamdSymbol struct {
	name, group string
	options     []string
}

func (s *rspamdSymbol) option() string {
	if len(s.options) == 0 {
		return s.name
	}
	return s.options[0]
}

// mostSymbols is how many symbols are told of.
const mostSymbols = 100

// readRspamd reads a message. rspamd says unknown where there is nothing.
func readRspamd(p payload) rspamdMessage {
	known := func(name string) string {
		if text := p.text(name); text != "unknown" && text != "undef" {
			return text
		}
		return ""
	}
	m := rspamdMessage{data: map[string]any{"mta": "rspamd"}, user: known("user"), address: known("ip")}
	for field, name := range map[string]string{"message_id": "message_id", "queue_id": "qid", "sender": "from", "subject": "subject", "user": "user", "server": "rspamd_server"} {
		if text := known(name); text != "" {
			m.data[field] = text
		}
	}
	if m.address != "" {
		m.data["client_ip"] = m.address
	}
	if to := texts(p["rcpt"], 1000); to != nil {
		m.data["recipients"] = to
	}
	if score, err := strconv.ParseFloat(p.text("score"), 64); err == nil {
		m.data["score"] = score
	}
	list, _ := p["symbols"].([]any)
	var names []string
	for _, v := range list[:min(len(list), mostSymbols)] {
		one, _ := v.(map[string]any)
		s := rspamdSymbol{name: payload(one).text("name"), group: payload(one).text("group"), options: texts(one["options"], 10)}
		if s.name != "" {
			m.symbols = append(m.symbols, s)
			names = append(names, s.name)
		}
	}
	if names != nil {
		m.data["symbols"] = names
	}
	if found := m.virus(); found != "" {
		m.data["signature"] = found
	}
	return m
}

// texts are the strings of a list, at most some of them.
func texts(v any, most int) (all []string) {
	list, _ := v.([]any)
	for _, one := range list[:min(len(list), most)] {
		if text, ok := one.(string); ok {
			all = append(all, plainText(text, 256))
		}
	}
	return all
}

// symbol is the first symbol whose name begins with a text, or nil.
func (m *rspamdMessage) symbol(prefix string) *rspamdSymbol {
	for i := range m.symbols {
		if strings.HasPrefix(m.symbols[i].name, prefix) {
			return &m.symbols[i]
		}
	}
	return nil
}

// virus is what a scanner has recognised: the symbols of rspamd's group antivirus
// have it as their option.
func (m *rspamdMessage) virus() string {
	for i := range m.symbols {
		if s := &m.symbols[i]; s.group == "antivirus" && len(s.options) > 0 && !strings.HasSuffix(s.name, "_FAIL") && !strings.HasSuffix(s.name, "_CLEAN") {
			return s.options[0]
		}
	}
	return ""
}

func (m *rspamdMessage) reason(action string) string {
	if found, ok := m.data["signature"]; ok {
		return "a scanner has found " + found.(string)
	}
	if score, ok := m.data["score"].(float64); ok {
		return "rspamd: " + action + ", score " + strconv.FormatFloat(score, 'f', -1, 64)
	}
	return "rspamd: " + action
}

// throttled is whom a limit has hit: who has signed in, else the envelope's sender,
// else the address.
func (m *rspamdMessage) throttled() string {
	sender, _ := m.data["sender"].(string)
	return firstText(m.user, sender, m.address, "unknown")
}

func (m *rspamdMessage) subjectOf() string {
	for _, field := range []string{"queue_id", "message_id"} {
		if id, ok := m.data[field].(string); ok {
			return "message/" + id
		}
	}
	return "rspamd"
}
