package mail

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/textproto"
	"os"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Server is a mail server, and how it is reached.
type Server struct {
	config.SMTP
	Password string        // in place of the password file
	TLS      *tls.Config   // nil for the system's
	Limit    time.Duration // for one mail; sendTime where it is 0
	// Dial connects; nil for a plain dialler, which asks nobody whether the address
	// may be called.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Letter is a mail with all its parts. Text of others is safe everywhere in it:
// a header never gets a second line.
type Letter struct {
	To        []string // each sees the others only where there is one
	FromName  string   // beside the server's From
	Subject   string
	Text      string
	HTML      string            // as an alternative; empty for none
	ID        string            // the Message-ID without its brackets; empty for a new one
	Headers   map[string]string // further ones
	Important bool
}

// Deliver hands a letter to the server and returns what it said. Errors are of
// class event.ErrUnavailable where a later try may succeed, else of
// event.ErrInvalid, or event.ErrDenied where the server wants to know who we are.
func (s *Server) Deliver(ctx context.Context, l Letter) (reply string, err error) {
	out, err := s.compose(l)
	if err != nil {
		return "", err
	}
	limit := s.Limit
	if limit == 0 {
		limit = sendTime
	}
	options, err := s.options(limit)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errors.New("the mail server took too long"))
	defer cancel()
	client, err := gomail.NewClient(s.Host, append(options, gomail.WithDialContextFunc(s.dialer(ctx)))...)
	if err != nil {
		return "", event.Invalidf("smtp: %w", err)
	}
	err = client.DialAndSendWithContext(ctx, out)
	switch {
	case out.IsDelivered(): // what comes behind the server's yes changes nothing
		return out.ServerResponse(), nil
	case err == nil:
		return "", event.Unavailablef("mail server %s: no answer", s.Host)
	case ctx.Err() != nil:
		return "", event.Unavailablef("mail server %s: %w", s.Host, context.Cause(ctx))
	}
	return "", s.failure(err)
}

// failure gives an error its class, by the code of the reply (RFC 5321, 4.2.1).
func (s *Server) failure(err error) error {
	if errors.Is(err, event.ErrDenied) || errors.Is(err, event.ErrInvalid) { // of Dial
		return err
	}
	code := 0
	if sent, ok := errors.AsType[*gomail.SendError](err); ok {
		code = sent.ErrorCode()
		if code == 0 && !sent.IsTemp() && (sent.Reason == gomail.ErrGetRcpts || sent.Reason == gomail.ErrGetSender) {
			code = 553
		}
	} else if reply, ok := errors.AsType[*textproto.Error](err); ok {
		code = reply.Code
	}
	switch {
	case code == 530 || code == 534 || code == 535 || code == 538:
		return event.Deniedf("mail server %s: %w", s.Host, err)
	case code >= 500:
		return event.Invalidf("mail server %s: %w", s.Host, err)
	}
	return event.Unavailablef("mail server %s: %w", s.Host, err)
}

func (s *Server) compose(l Letter) (*gomail.Msg, error) {
	out := gomail.NewMsg(gomail.WithNoDefaultUserAgent()) // which would tell versions
	var err error
	if l.FromName == "" {
		err = out.From(s.From)
	} else {
		err = out.FromFormat(header(l.FromName), s.From)
	}
	if err != nil {
		return nil, event.Invalidf("smtp.from: %w", err)
	}
	if len(l.To) == 1 {
		err = out.To(l.To[0])
	} else {
		err = out.Bcc(l.To...)
	}
	if err != nil {
		return nil, event.Invalidf("mail: recipient: %w", err)
	}
	out.Subject(header(l.Subject))
	if l.ID == "" {
		out.SetMessageID()
	} else {
		out.SetMessageIDWithValue(header(l.ID))
	}
	out.SetDate()
	out.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no holiday replies
	for name, value := range l.Headers {
		out.SetGenHeaderPreformatted(gomail.Header(name), header(value))
	}
	if l.Important {
		out.SetImportance(gomail.ImportanceHigh)
	}
	out.SetBodyString(gomail.TypeTextPlain, l.Text)
	if l.HTML != "" {
		out.AddAlternativeString(gomail.TypeTextHTML, l.HTML)
	}
	return out, nil
}

// header makes a text fit for one line of a header.
func header(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7F {
			return ' '
		}
		return r
	}, text)
}

// dialer connects, in TLS where it is implicit. The connection ends with the
// exchange; go-mail's own context ends when it is connected.
func (s *Server) dialer(exchange context.Context) gomail.DialContextFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := s.connect(ctx, network, address)
		if err == nil {
			context.AfterFunc(exchange, func() { _ = conn.Close() })
		}
		return conn, err
	}
}

func (s *Server) connect(ctx context.Context, network, address string) (net.Conn, error) {
	connect := s.Dial
	if connect == nil {
		connect = (&net.Dialer{}).DialContext
	}
	conn, err := connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if s.SMTP.TLS != "implicit" {
		return conn, nil
	}
	c := s.TLS.Clone()
	if c == nil {
		c = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.ServerName == "" {
		c.ServerName = s.Host
	}
	secure := tls.Client(conn, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secure, nil
}

func (s *Server) options(limit time.Duration) ([]gomail.Option, error) {
	options := []gomail.Option{gomail.WithPort(s.Port), gomail.WithTimeout(limit / 2)}
	switch s.SMTP.TLS {
	case "none":
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	case "implicit":
		// dial has made the connection secure; this makes go-mail see that it is.
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if s.TLS != nil {
		options = append(options, gomail.WithTLSConfig(s.TLS))
	}
	if s.Username == "" {
		return options, nil
	}
	password := cmp.Or(s.Password, s.SMTP.Password)
	if password == "" {
		raw, err := os.ReadFile(s.PasswordFile)
		if err != nil {
			return nil, event.Invalidf("smtp.password_file: %w", err)
		}
		password = strings.TrimRight(string(raw), "\r\n")
	}
	// Discovery refuses to send a password in the clear.
	return append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(s.Username), gomail.WithPassword(password)), nil
}
