package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"html/template"
	netmail "net/mail"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/mail"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// Sends: one mail to the recipients, in text and HTML; each sees nobody but
// himself. Mails of one rule make one thread, by References and In-Reply-To to a
// message that never was (RFC 5322, 3.6.4); Message-ID comes from the idempotency
// key, so that a second copy can be recognised. List-Unsubscribe where the
// message has a way out (RFC 2369, RFC 8058).
// Success: the server's 250 behind the data.
func init() {
	register(Mode{Name: "email", Doc: "A mail to each recipient, through the mail server of the configuration (smtp) or one of its own.", Personal: true},
		emailSettings{TLS: "starttls", Timeout: config.Duration(30 * time.Second)}, newEmail)
}

type emailSettings struct {
	Host     string          `json:"host" doc:"Mail server; empty for that of the configuration."`
	Port     int             `json:"port" doc:"Its port; 0 for 587, or 465 where TLS is implicit, or 25 where there is none."`
	Username string          `json:"username" doc:"Name to sign in with; empty for none."`
	Password string          `json:"password" secret:"whole" doc:"Its password."`
	From     string          `json:"from" doc:"Sender; empty for that of the configuration."`
	TLS      string          `json:"tls" doc:"How the connection to host is encrypted: starttls, implicit or none."`
	CA       string          `json:"ca" doc:"PEM text of the authorities that vouch for host; empty for those of the system."`
	To       []string        `json:"to" doc:"Addresses that are told besides the recipients."`
	Subject  string          `json:"subject" doc:"Subject with {{ expressions }}; empty for the severity and the title."`
	Timeout  config.Duration `json:"timeout" doc:"How long the mail server may take."`
}

type email struct {
	env     *Env
	s       emailSettings
	tls     *tls.Config // of a server of its own
	subject *pattern
}

func newEmail(s emailSettings, env *Env) (Transport, error) {
	if err := checkTime(s.Timeout); err != nil {
		return nil, err
	}
	t := &email{env: env, s: s}
	for _, a := range s.To {
		if _, err := netmail.ParseAddress(a); err != nil {
			return nil, event.Invalidf("settings.to: %q is not an address such as ops@example.com", cut(a, 64))
		}
	}
	if s.Subject != "" {
		var err error
		if t.subject, err = parseTemplate(env.Filter, "subject", s.Subject); err != nil {
			return nil, err
		}
	}
	if s.From != "" {
		if a, err := netmail.ParseAddress(s.From); err != nil || a.Address != s.From {
			return nil, event.Invalidf("settings.from: %q is not an address such as tocsin@example.com", cut(s.From, 64))
		}
	}
	if s.Host == "" {
		if s.Port != 0 || s.Username != "" || s.Password != "" || s.CA != "" {
			return nil, event.Invalidf("settings.host: is missing: port, username, password and ca belong to it")
		}
		return t, nil
	}
	if t.s.Port == 0 {
		t.s.Port = map[string]int{"implicit": 465, "none": 25}[s.TLS]
		if t.s.Port == 0 {
			t.s.Port = 587
		}
	}
	if (s.Username == "") != (s.Password == "") {
		return nil, event.Invalidf("settings: username and password are given together or not at all")
	}
	t.tls = env.Egress.TLS(s.Host)
	if s.CA != "" {
		t.tls.RootCAs = x509.NewCertPool()
		if !t.tls.RootCAs.AppendCertsFromPEM([]byte(s.CA)) {
			return nil, event.Invalidf("settings.ca: holds no certificate in PEM form")
		}
	}
	check := config.SMTP{Host: s.Host, Port: t.s.Port, TLS: s.TLS, From: "nobody@localhost"}
	if problems := check.Validate(); len(problems) > 0 {
		return nil, problems[0]
	}
	return t, nil
}

// server is where the mail goes. The configuration's own may be anywhere: who
// writes that file decides about egress.allow as well. That of the settings may not.
func (t *email) server() (mail.Server, error) {
	global := t.env.SMTP()
	s := mail.Server{SMTP: global, TLS: t.env.MailTLS, Limit: time.Duration(t.s.Timeout)}
	if global.Guarded {
		s.Dial = t.env.Egress.Dial
	}
	if t.s.Host != "" {
		s.SMTP = config.SMTP{Host: t.s.Host, Port: t.s.Port, Username: t.s.Username, TLS: t.s.TLS, From: global.From}
		s.Password, s.TLS, s.Dial = t.s.Password, t.tls, t.env.Egress.Dial
	}
	if t.s.From != "" {
		s.From = t.s.From
	}
	switch {
	case s.Host == "":
		return s, event.Unavailablef("no mail server is configured: set smtp.host")
	case s.From == "":
		return s, event.Invalidf("no sender is configured: set smtp.from, or from in the settings")
	}
	return s, nil
}

// Send implements Transport.
func (t *email) Send(ctx context.Context, m *Message) (Answer, error) {
	to := append([]string(nil), t.s.To...)
	for _, r := range m.Recipients {
		if r.Email != "" {
			to = append(to, r.Email)
		}
	}
	if len(to) == 0 {
		return Answer{}, event.Invalidf("nobody to write to: the recipient has no address")
	}
	server, err := t.server()
	if err != nil {
		return Answer{}, err
	}
	letter, err := t.letter(m, server.From)
	if err != nil {
		return Answer{}, err
	}
	letter.To = to
	start := time.Now()
	reply, err := server.Deliver(ctx, letter)
	a := Answer{Latency: time.Since(start), Body: cut(redact.Text(clean(reply)), maxAnswer)}
	if err != nil {
		return a, err
	}
	a.Status = 250
	a.Mail = &Mail{From: server.From, To: to, Subject: letter.Subject, Body: letter.Text}
	return a, nil
}

// maxSubject is how long a subject gets, in UTF-16 units.
const maxSubject = 200

func (t *email) letter(m *Message, from string) (mail.Letter, error) {
	subject := m.headline()
	if t.subject != nil {
		text, err := t.subject.renderFor(m)
		if err != nil {
			return mail.Letter{}, err
		}
		subject = oneLine(text)
	}
	_, domain, _ := strings.Cut(from, "@")
	thread := "<rule-" + idPart(m.RuleID+"."+m.Rule) + "@" + domain + ">"
	l := mail.Letter{
		FromName: m.brand(), Subject: fit(subject, maxSubject, plain), ID: idPart(m.Key) + "@" + domain, Text: t.text(m), Important: m.Severity >= event.Error && !m.Resolved,
		Headers: map[string]string{"References": thread, "In-Reply-To": thread, "X-Tocsin-Severity": m.Severity.String()},
	}
	if m.Unsubscribe != "" && !strings.ContainsAny(m.Unsubscribe, "<> \r\n\t") {
		l.Headers["List-Unsubscribe"] = "<" + m.Unsubscribe + ">"
		l.Headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
	}
	var page bytes.Buffer
	if err := emailPage.Execute(&page, emailView{
		Brand: m.brand(), Headline: m.headline(), Colour: fmt.Sprintf("#%06X", m.colour()), Lines: strings.Split(clean(m.Text), "\n"),
		Facts: m.facts(), Link: m.Link, Unsubscribe: m.Unsubscribe,
	}); err != nil {
		return l, event.Invalidf("mail: %w", err)
	}
	l.HTML = page.String()
	return l, nil
}

func (t *email) text(m *Message) string {
	var b strings.Builder
	b.WriteString(clean(m.Text) + "\n\n")
	for _, f := range m.facts() {
		fmt.Fprintf(&b, "%-9s %s\n", f.name+":", f.value)
	}
	if m.Link != "" {
		b.WriteString("\n" + m.Link + "\n")
	}
	b.WriteString("\n-- \n" + m.brand() + "\n")
	if m.Unsubscribe != "" {
		b.WriteString("To end these mails: " + m.Unsubscribe + "\n")
	}
	return b.String()
}

// idPart makes a text fit for the left side of a Message-ID; what does not fit
// is hashed.
func idPart(text string) string {
	fits := text != "" && len(text) <= 64
	for i := range len(text) {
		c := text[i]
		fits = fits && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}
	if fits {
		return text
	}
	h := fnv.New128a()
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

type emailView struct {
	Brand, Headline, Colour string
	Lines                   []string
	Facts                   []fact
	Link, Unsubscribe       string
}

// emailPage is laid out with a table and styles on the elements, which is what
// mail programs show.
var emailPage = template.Must(template.New("mail").Funcs(template.FuncMap{ //nolint:gochecknoglobals // a constant, parsed once
	"name": func(f fact) string { return f.name }, "value": func(f fact) string { return f.value },
	"safe": func(colour string) template.CSS { return template.CSS(colour) }, //nolint:gosec // one of six of our own
}).Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{.Headline}}</title></head>
<body style="margin:0;padding:24px;background:#f3f4f6;font:15px/1.5 system-ui,sans-serif;color:#111827">
<table role="presentation" style="max-width:600px;margin:0 auto;background:#fff;border-collapse:collapse;width:100%">
<tr><td style="border-top:6px solid {{safe .Colour}};padding:20px 24px">
<h1 style="font-size:18px;margin:0 0 12px">{{.Headline}}</h1>
<p style="margin:0 0 16px">{{range $i, $line := .Lines}}{{if $i}}<br>{{end}}{{$line}}{{end}}</p>
<table style="border-collapse:collapse;font-size:14px">
{{range .Facts}}<tr><th scope="row" style="text-align:left;font-weight:600;padding:2px 16px 2px 0;color:#4b5563">{{name .}}</th><td style="padding:2px 0">{{value .}}</td></tr>
{{end}}</table>
{{if .Link}}<p style="margin:20px 0 0"><a href="{{.Link}}" style="color:#1d4ed8">Open the event</a></p>
{{end}}</td></tr>
<tr><td style="padding:12px 24px;font-size:12px;color:#6b7280">{{.Brand}}{{if .Unsubscribe}} · <a href="{{.Unsubscribe}}" style="color:#6b7280">End these mails</a>{{end}}</td></tr>
</table></body></html>
`))
