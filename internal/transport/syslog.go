package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Sends: one message of RFC 5424, over UDP (RFC 5426), TCP with octet counting
// (RFC 6587, 3.4.1) or TLS (RFC 5425). Each has a connection of its own, which is
// closed by us first: a server that has read to its end has the message, and a
// connection that was cut in between is seen, as it is not on one that is kept.
// Success: TCP and TLS: the server read to the end or stays silent; UDP tells
// nothing, but for a port that nobody listens on.
func init() {
	register(Mode{Name: "syslog", Doc: "A message of RFC 5424 to a syslog server, with what is known of the event as structured data."},
		syslogSettings{Protocol: "tls", Facility: "daemon", AppName: "tocsin", Format: "text", Timeout: defaultTimeout}, newSyslog)
}

type syslogSettings struct {
	Address  string          `json:"address" required:"true" doc:"Host and port of the server; the port may be left out: 514, or 6514 for tls."`
	Protocol string          `json:"protocol" doc:"tls, tcp or udp."`
	Facility string          `json:"facility" doc:"One of kern, user, mail, daemon, auth, syslog, lpr, news, uucp, cron, authpriv, ftp, local0 … local7."`
	AppName  string          `json:"app_name" doc:"APP-NAME of the messages."`
	Format   string          `json:"format" doc:"text, or cloudevents: the event as JSON in place of the text, where it fits into half of max_size."`
	MaxSize  int             `json:"max_size" doc:"Size in bytes from which the text is cut; 0 for 2048 over udp and 8192 else."`
	CA       string          `json:"ca" doc:"PEM text of the authorities that vouch for the server; empty for those of the system."`
	Cert     string          `json:"cert" doc:"PEM text of our certificate, where the server wants one."`
	Key      string          `json:"key" secret:"whole" stays:"true" doc:"PEM text of its key."`
	Timeout  config.Duration `json:"timeout" doc:"How long it may take."`
}

type syslogger struct {
	env      *Env
	s        syslogSettings
	facility int
	tls      *tls.Config
}

// facilities in the order of their numbers (RFC 5424, table 1).
var facilities = []string{ //nolint:gochecknoglobals // a constant table
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
	"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

func newSyslog(s syslogSettings, env *Env) (Transport, error) {
	if err := checkTime(s.Timeout); err != nil {
		return nil, err
	}
	t := &syslogger{env: env, s: s, facility: slices.Index(facilities, s.Facility)}
	port, size := "514", 8192
	switch s.Protocol {
	case "tls":
		port = "6514"
	case "tcp":
	case "udp":
		size = 2048
	default:
		return nil, event.Invalidf("settings.protocol: %q is unknown: use tls, tcp or udp", cut(s.Protocol, 16))
	}
	if t.s.MaxSize == 0 {
		t.s.MaxSize = size
	}
	if _, _, err := net.SplitHostPort(s.Address); err != nil {
		t.s.Address = net.JoinHostPort(strings.Trim(s.Address, "[]"), port)
	}
	switch {
	case t.facility < 0:
		return nil, event.Invalidf("settings.facility: %q is unknown: use one of %s", cut(s.Facility, 16), strings.Join(facilities, ", "))
	case s.Format != "text" && s.Format != "cloudevents":
		return nil, event.Invalidf("settings.format: %q is unknown: use text or cloudevents", cut(s.Format, 16))
	case t.s.MaxSize < 480 || t.s.MaxSize > 1<<20 || s.Protocol == "udp" && t.s.MaxSize > 65000:
		return nil, event.Invalidf("settings.max_size: %d is out of range: 480 to 1 MiB, over udp to 65000", t.s.MaxSize)
	case s.Protocol != "tls" && (s.CA != "" || s.Cert != "" || s.Key != ""):
		return nil, event.Invalidf("settings: ca, cert and key are for the protocol tls")
	}
	return t, t.secure()
}

func (t *syslogger) secure() error {
	if t.s.Protocol != "tls" {
		return nil
	}
	host, _, err := net.SplitHostPort(t.s.Address)
	if err != nil {
		return event.Invalidf("settings.address: %w", err)
	}
	t.tls = t.env.Egress.TLS(host)
	if t.s.CA != "" {
		t.tls.RootCAs = x509.NewCertPool()
		if !t.tls.RootCAs.AppendCertsFromPEM([]byte(t.s.CA)) {
			return event.Invalidf("settings.ca: holds no certificate in PEM form")
		}
	}
	if t.s.Cert == "" && t.s.Key == "" {
		return nil
	}
	pair, err := tls.X509KeyPair([]byte(t.s.Cert), []byte(t.s.Key))
	if err != nil {
		return event.Invalidf("settings.cert and settings.key: no certificate and its key in PEM form")
	}
	t.tls.Certificates = []tls.Certificate{pair}
	return nil
}

// Send implements Transport.
func (t *syslogger) Send(ctx context.Context, m *Message) (Answer, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(t.s.Timeout), errors.New("the syslog server took too long"))
	defer cancel()
	conn, err := t.connect(ctx)
	if err != nil {
		return Answer{Latency: time.Since(start)}, err
	}
	defer func() { _ = conn.Close() }() // the answer is known by then
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	said := t.message(m)
	frame := said.encode(t.s.MaxSize)
	if t.s.Protocol != "udp" {
		frame = append([]byte(strconv.Itoa(len(frame))+" "), frame...)
	}
	if _, err = conn.Write(frame); err == nil {
		err = t.confirm(conn)
	}
	a := Answer{Latency: time.Since(start)}
	switch {
	case err == nil:
		return a, nil
	case ctx.Err() != nil:
		return a, event.Unavailablef("syslog %s: %w", t.s.Address, context.Cause(ctx))
	default:
		return a, event.Unavailablef("syslog %s: %w", t.s.Address, err)
	}
}

func (t *syslogger) connect(ctx context.Context) (net.Conn, error) {
	if t.s.Protocol == "tls" {
		return t.env.Egress.DialTLS(ctx, "tcp", t.s.Address, t.tls)
	}
	return t.env.Egress.Dial(ctx, t.s.Protocol, t.s.Address)
}

// Times to wait for what a server may say: nothing, by the protocol.
const (
	refusalTime = 20 * time.Millisecond // until the message of a closed UDP port is back, where it is near
	drainTime   = 500 * time.Millisecond
)

// confirm looks whether the message is refused.
func (t *syslogger) confirm(conn net.Conn) error {
	wait := drainTime
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil {
			return err
		}
	} else {
		wait = refusalTime
	}
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, conn, 1<<10)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
		return err
	}
	if remote, ok := errors.AsType[*net.OpError](err); ok && remote.Op == "remote error" { // a TLS alert: our certificate is not taken
		return err
	}
	return nil
}

// sdID is the name of our structured data. RFC 5612 keeps the number for
// examples; it says nothing of an enterprise.
const sdID = "tocsin@32473"

// syslogMessage is what RFC 5424 can say. Its texts are clean.
type syslogMessage struct {
	facility, severity  int
	time                time.Time
	host, app, proc, id string
	params              []param
	text                string
}

type param struct{ name, value string }

func (t *syslogger) message(m *Message) syslogMessage {
	e := m.Event
	s := syslogMessage{
		facility: t.facility, severity: syslogSeverity(m.Severity), time: e.Time, host: e.Host, app: t.s.AppName, id: string(e.Type), text: oneLine(m.Text),
	}
	if s.host == "" {
		s.host = t.env.Host
	}
	for _, p := range []param{
		{"id", string(e.ID)},
		{"type", string(e.Type)},
		{"source", e.Source},
		{"subject", e.Subject},
		{"severity", m.Severity.String()},
		{"kind", string(e.Kind)},
		{"actor", e.Actor()},
		{"clientip", e.ClientIP},
		{"rule", m.Rule},
		{"key", m.Key},
		{"link", m.Link},
		{"brand", e.Brand},
	} {
		if p.value != "" {
			s.params = append(s.params, param{p.name, oneLine(cut(p.value, 256))})
		}
	}
	if m.Resolved {
		s.severity = syslogSeverity(event.Notice)
		s.params = append(s.params, param{"resolved", "true"})
	}
	if t.s.Format == "cloudevents" {
		if raw := e.AppendJSON(nil); len(raw) <= t.s.MaxSize/2 { // cut JSON is none: then the text must do
			s.text = string(raw)
		}
	}
	return s
}

// syslogSeverity is RFC 5424's table 2.
func syslogSeverity(s event.Severity) int {
	switch {
	case s >= event.Critical:
		return 2
	case s >= event.Error:
		return 3
	case s >= event.Warn:
		return 4
	case s >= event.Notice:
		return 5
	default:
		return 6
	}
}

// encode writes the message in at most most bytes (RFC 5424, 6).
func (s *syslogMessage) encode(most int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "<%d>1 %s %s %s %s %s ", s.facility*8+s.severity, stamp(s.time),
		printUSASCII(s.host, 255), printUSASCII(s.app, 48), printUSASCII(s.proc, 128), printUSASCII(s.id, 32))
	room := most - b.Len() - len("[] -") - len(sdID)
	var data strings.Builder
	for _, p := range s.params {
		text := " " + p.name + `="` + sdEscaper.Replace(p.value) + `"`
		if data.Len()+len(text) <= room { // the more important come first
			data.WriteString(text)
		}
	}
	if data.Len() == 0 {
		b.WriteString("-")
	} else {
		b.WriteString("[" + sdID + data.String() + "]")
	}
	const bom = "\ufeff" // says that the text is UTF-8
	if left := most - b.Len() - len(" "+bom); s.text != "" && left > len(ellipsis) {
		b.WriteString(" " + bom + cut(s.text, left))
	}
	return []byte(b.String())
}

// sdEscaper is RFC 5424, 6.3.3.
var sdEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`) //nolint:gochecknoglobals // a constant

// stamp writes a time with the six digits that RFC 5424, 6.2.3 allows.
func stamp(t time.Time) string {
	if t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000Z")
}

// printUSASCII makes a field of the header: what it may not hold becomes a _.
func printUSASCII(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r < 33 || r > 126 {
			return '_'
		}
		return r
	}, text)
	if text == "" {
		return "-"
	}
	return text[:min(len(text), most)]
}
