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

	"github.com/tocsin-events/tocsin/internal/alert"
	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
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
	Filters  *filter.Env
	Metrics  *telemetry.Metrics
	Traces   *telemetry.Traces // nil for none
	Log      *slog.Logger
	Settings *Settings
	Policy   func(*config.Retention) journal.Policy
	Sources  func() []source.Row
	Hook     func(name string) (*source.Inlet, error) // the way into a source
	Alerts   *alert.Store
	Reload   func(context.Context, state.Cause) error
	Ready    func() error // nil when the server can take events
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

// Settings are what administrators change while the server runs.
type Settings struct {
	state      *state.State
	configured func() config.Retention
	changed    func(config.Retention)
}

// stored is the settings object: one document.
type stored struct {
	Retention retention `json:"retention"`
}

type retention struct {
	Default  config.Duration `json:"default"`
	Long     config.Duration `json:"long"`
	Short    config.Duration `json:"short"`
	MaxBytes config.Bytes    `json:"max_bytes"`
}

var settings = state.Collection[stored]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "server", Model: "settings",
	Name: func(*stored) string { return "settings" },
	Keys: func(*stored) map[string]string { return map[string]string{"singleton": "settings"} },
	Check: func(v *stored) error {
		r := config.Retention{Default: v.Retention.Default, Long: v.Retention.Long, Short: v.Retention.Short, MaxBytes: v.Retention.MaxBytes}
		if problems := r.Validate(); len(problems) > 0 {
			return problems[0]
		}
		return nil
	},
}

// NewSettings returns the settings: what is stored, else what the configuration
// says. changed is called with what holds after a change.
func NewSettings(s *state.State, configured func() config.Retention, changed func(config.Retention)) *Settings {
	return &Settings{state: s, configured: configured, changed: changed}
}

// Retention is the retention that holds now.
func (s *Settings) Retention(ctx context.Context) (config.Retention, error) {
	r, err := s.load(ctx)
	if err != nil {
		return s.configured(), err
	}
	now := s.configured()
	now.Default, now.Long, now.Short, now.MaxBytes = r.Value.Retention.Default, r.Value.Retention.Long, r.Value.Retention.Short, r.Value.Retention.MaxBytes
	return now, nil
}

// load returns the stored settings, or those of the configuration as version 0.
func (s *Settings) load(ctx context.Context) (state.Record[stored], error) {
	r, err := settings.Find(ctx, s.state.Reader(), "singleton", "settings")
	if isNotFound(err) {
		i := s.configured()
		return state.Record[stored]{Value: stored{retention{i.Default, i.Long, i.Short, i.MaxBytes}}}, nil
	}
	return r, err
}

// update changes the settings by a merge patch.
func (s *Settings) update(ctx context.Context, by state.Cause, version int64, change func(*stored) error) (r state.Record[stored], err error) {
	err = s.state.Write(ctx, by, func(tx *state.Tx) error {
		found, err := settings.Find(ctx, tx, "singleton", "settings")
		if isNotFound(err) {
			i := s.configured()
			found, err = settings.Insert(tx, stored{retention{i.Default, i.Long, i.Short, i.MaxBytes}})
			version = state.AnyVersion
		}
		if err != nil {
			return err
		}
		r, err = settings.Update(tx, found.ID, version, change)
		return err
	})
	if err == nil {
		now, loadErr := s.Retention(ctx)
		if loadErr != nil {
			return r, loadErr
		}
		s.changed(now)
	}
	return r, err
}

func isNotFound(err error) bool { return errors.Is(err, event.ErrNotFound) }
