package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/redact"
	"github.com/tocsin-events/tocsin/internal/state"
)

type contextKey int

const (
	peerKey contextKey = iota
	callerKey
)

// Peer is an authenticated caller on the other end of a connection, as the
// kernel names it for a Unix socket.
type Peer interface{ Principal() *identity.Principal }

func withPeer(ctx context.Context, c net.Conn) context.Context {
	if p, ok := c.(Peer); ok {
		return context.WithValue(ctx, peerKey, p.Principal())
	}
	return ctx
}

// caller is who is asking, and from where.
type caller struct {
	principal *identity.Principal
	address   string
	requestID string
	brand     string // of the host name that was asked for
}

func callerOf(r *http.Request) *caller { return r.Context().Value(callerKey).(*caller) }

// handler is a handler that can fail; fail answers for it.
type handler func(w http.ResponseWriter, r *http.Request) error

// open is the scope of routes that anybody may call, known of those for which
// it is enough to be known: their handlers decide, such as who may act upon
// which account.
const (
	open  identity.Scope = ""
	known identity.Scope = "known"
	// sends is of the way in for events: emit, or forward, which gives nothing else of
	// what emit does. An agent's token starts no flow and silences no rule.
	sends identity.Scope = "emit or forward"
)

// guard wraps a handler of the API: caller, scope, and the answer to an error.
func (s *Server) guard(pattern string, scope identity.Scope, h handler) http.HandlerFunc {
	return s.wrap(pattern, func(w http.ResponseWriter, r *http.Request) error {
		if err := s.authenticate(r, callerOf(r), scope); err != nil {
			return err
		}
		return h(w, r)
	}, s.fail)
}

// wrap does what happens to every request: who asks from where, metrics, its
// span, and that an error or a panic is answered by fail.
func (s *Server) wrap(pattern string, h handler, fail func(http.ResponseWriter, *http.Request, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		defer func() { s.Metrics.Request(pattern, rec.status, time.Since(began)) }()
		head := w.Header()
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Cache-Control", "no-store")
		who := &caller{address: clientAddress(r, s.Proxies()), requestID: string(event.NewID())}
		if b := s.brands.of(s.hostOf(r)); b != nil {
			who.brand = b.Name
		}
		head.Set("X-Request-Id", who.requestID)
		ctx, span := s.Traces.Request(r, pattern, who.address, who.requestID)
		defer func() { span.Answered(rec.status) }()
		r = r.WithContext(context.WithValue(ctx, callerKey, who))
		defer s.recoverPanic(rec, r, fail)
		if err := h(rec, r); err != nil {
			fail(rec, r, err)
		}
	}
}

// recoverPanic answers for a handler that panicked, and records it as a
// system_exception. http.ErrAbortHandler is the way to break off a stream.
func (s *Server) recoverPanic(w *recorder, r *http.Request, fail func(http.ResponseWriter, *http.Request, error)) {
	recovered := recover()
	if recovered == nil {
		return
	}
	if err, ok := recovered.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(recovered)
	}
	x := event.NewPanic(recovered)
	s.Log.ErrorContext(r.Context(), "handler panicked", "path", r.URL.Path, "err", x.Message)
	s.recordFailure(r, &x)
	fail(w, r, newProblem(http.StatusInternalServerError, "internal", "something failed that should not have; it is recorded as a system_exception"))
}

// failed logs what is the server's own fault, once, and records it. A client that
// has gone is no fault, and what was recorded where it happened is not told twice.
func (s *Server) failed(r *http.Request, err error) {
	if _, told := errors.AsType[*problem](err); told || r.Context().Err() != nil {
		return
	}
	s.Log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	x := event.NewException(err, 2)
	s.recordFailure(r, &x)
}

// recordFailure raises system_exception for a request that broke; floods are
// folded.
func (s *Server) recordFailure(r *http.Request, x *event.Exception) {
	by := cause(r)
	e, err := by.Event(s.Base+"/server", "system_exception", "", map[string]any{"message": x.Message, "exception": x, "http_request": by.Request})
	if err == nil {
		err = s.Folder.Raise(context.WithoutCancel(r.Context()), by, e)
	}
	if err != nil {
		s.Log.ErrorContext(r.Context(), "exception is not recorded", "err", err)
	}
}

// authenticate finds out who calls, and whether they may.
func (s *Server) authenticate(r *http.Request, who *caller, scope identity.Scope) error {
	if scope == open {
		return nil
	}
	p, err := s.identify(r)
	if errors.Is(err, event.ErrDenied) {
		return unauthorized(err.Error())
	}
	if err != nil {
		return err
	}
	if name := r.Header.Get(behalfHeader); name != "" {
		if p, err = s.Identity.OnBehalfOf(r.Context(), p, name); err != nil {
			return err
		}
	}
	who.principal = p
	if p.Can(identity.Forward) && s.MutualTLS() && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0) {
		return event.Deniedf("tokens with the scope forward are for agents, which have to show their certificate here (tls.client_ca_file); send it with forward.cert_file and forward.key_file")
	}
	if scope == known && len(p.Scopes) > 0 || p.Can(scope) || scope == sends && (p.Can(identity.Emit) || p.Can(identity.Forward)) {
		return nil
	}
	return event.Deniedf("this needs the scope %q, which you do not have", scope)
}

// identify finds the caller: by the socket's peer, a signature, or a token.
func (s *Server) identify(r *http.Request) (*identity.Principal, error) {
	if p, ok := r.Context().Value(peerKey).(*identity.Principal); ok {
		return p, nil
	}
	if header, ok := signatureOf(r); ok {
		return s.bySignature(r, header)
	}
	bearer := bearerOf(r)
	if bearer == "" {
		return nil, unauthorized("sign in first: send Authorization: Bearer and a token")
	}
	return s.Identity.Authenticate(r.Context(), cause(r), bearer)
}

func unauthorized(detail string) error {
	p := newProblem(http.StatusUnauthorized, "unauthorized", detail)
	p.header.Set("WWW-Authenticate", `Bearer realm="tocsin"`)
	return p
}

// bearerOf is the token of a request (RFC 6750, 2.1). Webhook senders that can
// only be given a URL may put it into the query (CloudEvents HTTP webhook, 3.2),
// for events alone.
func bearerOf(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	if _, password, basic := r.BasicAuth(); basic && (strings.HasPrefix(r.URL.Path, "/api/v2/") || strings.HasPrefix(r.URL.Path, "/v1/hooks/")) {
		return password // Prometheus and its kin know no other way, some of them
	}
	if r.URL.Path == "/v1/events" && r.Method == http.MethodPost {
		return r.URL.Query().Get("access_token")
	}
	return ""
}

// onceOnly are the parameters with which a provider leads somebody back: they
// open a session (RFC 6749, 4.1.2), and are in no list of secret names.
var onceOnly = regexp.MustCompile(`(^|&)(code|state)=[^&]*`)

// queryOf is the query of a request, as it may be recorded.
func queryOf(u *url.URL) string {
	if strings.HasPrefix(u.Path, "/sign-in/oidc/") {
		return onceOnly.ReplaceAllString(u.RawQuery, "$1$2="+redact.Mask)
	}
	return u.RawQuery
}

// cause says for the record who asked for a change.
func cause(r *http.Request) state.Cause {
	who := callerOf(r)
	by := state.Cause{AuthType: "unauthenticated", ClientIP: who.address, Request: map[string]any{
		"method": r.Method, "path": r.URL.Path, "args": map[string]any{"query": queryOf(r.URL)},
		"user_agent": r.UserAgent(), "request_id": who.requestID,
	}, Brand: who.brand}
	if p := who.principal; p != nil {
		by.AuthType, by.AuthID, by.AuthName, by.AuthEmail, by.OnBehalfOf = p.AuthType, p.ID, p.Name, p.Email, p.OnBehalfOf
	}
	return by
}

// recorder remembers the status for the metrics.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
