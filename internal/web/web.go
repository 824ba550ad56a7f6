// Package web is Tocsin's HTTP face: the API of DESIGN 8, and the pages.
//
// It promises: every route is in routes.go, with the scope that it needs;
// nothing answers a stranger but health, sign-in and (on loopback) metrics; every
// error is an RFC 9457 problem that says what was wrong and what to do; a 2xx
// for events means that they are durable.
package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/tocsin-events/tocsin/internal/agent"
	"github.com/tocsin-events/tocsin/internal/alert"
	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/source"
	"github.com/tocsin-events/tocsin/internal/state"
	"github.com/tocsin-events/tocsin/internal/telemetry"
)

// Options are what the handlers work with. All but Traces must be set.
type Options struct {
	Version  string
	Base     string                // prefix of the source of the server's own events
	Limits   func() ingest.Limits  // of this moment: a reload may change them
	Proxies  func() []netip.Prefix // likewise
	Journal  *journal.Journal
	State    *state.State
	Folder   *state.Folder
	Catalog  *catalog.Catalog
	Ingest   *ingest.Ingest
	Identity *identity.Identity
	Notify   *notify.Notify
	Flow     *flow.Engine
	Filters  *filter.Env
	Metrics  *telemetry.Metrics
	Traces   *telemetry.Traces // nil for none
	Log      *slog.Logger
	Settings *Settings
	Policy   func(*config.Retention) journal.Policy
	Sources  func() []source.Row
	Hook     func(name string) (*source.Inlet, error) // the way into a source
	Alerts   *alert.Store
	Agents   *agent.Agents
	// Forwarding is how this server fares that is an agent itself; nil where it is
	// none.
	Forwarding func() *Forwarding
	// MutualTLS reports whether agents have to show a certificate.
	MutualTLS func() bool
	Reload    func(context.Context, state.Cause) error
	Ready     func() error // nil when the server can take events
}

// Server answers requests.
type Server struct {
	Options
	handler http.Handler
	gate    *gate
	hooks   *gate // of requests that may come from strangers
	began   time.Time
	pages   *pages
	openapi []byte
	stop    context.Context // ends live tails at shutdown
	end     context.CancelFunc

	verification verification
	brands       brandSet
	names        hostNames
}

// New returns a server.
func New(o Options) *Server {
	s := &Server{Options: o, gate: newGate(), hooks: newGate(), began: time.Now(), pages: newPages(), names: newHostNames(o.Base)}
	s.stop, s.end = context.WithCancel(context.Background())
	s.handler = s.routes()
	return s
}

// Handler answers every request.
func (s *Server) Handler() http.Handler { return s.handler }

// EndStreams ends the live tails, so that a shutdown need not wait for them, and
// waits for the work that no request waits for.
func (s *Server) EndStreams() {
	s.end()
	s.verification.work.Wait()
}

// HTTP returns an http.Server with limits against slow and greedy clients.
func (s *Server) HTTP() *http.Server {
	return &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		ConnContext:       withPeer,
	}
}

func isNotFound(err error) bool { return errors.Is(err, event.ErrNotFound) }
