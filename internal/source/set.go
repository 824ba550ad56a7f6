package source

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// Row is one source as people see it.
type Row struct {
	Name      string     `json:"name"`
	Doc       string     `json:"doc"`
	Status    Status     `json:"status"`
	LastEvent *time.Time `json:"last_event"`
	LastError string     `json:"last_error"`
	Lacks     string     `json:"lacks"` // what is missing, and how to give it
	Options   []Option   `json:"options"`
	Path      string     `json:"path,omitempty"` // where others send to
}

// Set runs the sources of one configuration.
type Set struct {
	env     Env
	members []*member
	failed  func(name string, err error)
}

type member struct {
	row    Row
	source Source
	push   Push
	seen   replays

	mu sync.Mutex // guards row
}

// Open opens every registered source with its options; it starts none. The
// error joins every problem, also that of options for a source that is unknown.
func Open(options map[string]yaml.Node, env Env, failed func(name string, err error)) (*Set, error) {
	s := &Set{env: env, failed: failed}
	var problems []error
	known := map[string]bool{}
	for _, d := range definitions {
		known[d.name] = true
		var raw *yaml.Node
		if n, ok := options[d.name]; ok {
			raw = &n
		}
		opened, enabled, err := d.open(raw)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		m := &member{source: opened.source, push: opened.push, row: Row{Name: d.name, Doc: d.doc, Status: Disabled, Options: d.options}}
		if enabled {
			m.row.Status = Running
		}
		if d.push {
			m.row.Path = hookPath + d.name
		}
		if m.push != nil && !m.push.Terms().Signed {
			m.row.Lacks = noSecret
		}
		s.members = append(s.members, m)
	}
	for name, n := range options {
		if !known[name] {
			problems = append(problems, event.Invalidf("sources: line %d: there is no source %q", n.Line, name))
		}
	}
	return s, errors.Join(problems...)
}

// Rows tells how each source fares.
func (s *Set) Rows() []Row {
	rows := make([]Row, len(s.members))
	for i, m := range s.members {
		m.mu.Lock()
		rows[i] = m.row
		m.mu.Unlock()
	}
	return rows
}

// Run runs every enabled source until ctx ends, and returns when all have
// ended. One that fails is started anew after a pause that grows to a minute.
func (s *Set) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, m := range s.members {
		if m.source != nil {
			all.Go(func() { s.supervise(ctx, m) })
		}
	}
	all.Wait()
	return nil
}

const (
	firstPause = time.Second
	lastPause  = time.Minute
)

func (s *Set) supervise(ctx context.Context, m *member) {
	log := s.env.Log.With("source", m.row.Name)
	pause := firstPause
	for {
		started := time.Now()
		err := s.once(ctx, m, log)
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > 10*lastPause {
			pause = firstPause
		}
		m.set(func(r *Row) { r.Status, r.LastError = Failed, redact.Text(err.Error()) })
		s.failed(m.row.Name, err)
		if pause == firstPause { // say it once, not at every try
			log.WarnContext(ctx, "source has failed and will be started anew", "err", err)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, lastPause)
		case <-ctx.Done():
			return
		}
	}
}

// PanicError is a panic of a source, with its trace.
type PanicError struct{ Exception event.Exception }

func (p *PanicError) Error() string { return "panic: " + p.Exception.Message }

// once runs a source; a panic of one ends neither the server nor the others.
func (s *Set) once(ctx context.Context, m *member, log *slog.Logger) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{event.NewPanic(r)}
		}
		if err == nil {
			err = errors.New("the source has ended by itself")
		}
	}()
	env := s.env
	env.Log = log
	env.Status = func(st Status, lacks string) {
		changed := false
		m.set(func(r *Row) {
			changed = r.Status != st || r.Lacks != lacks
			r.Status, r.Lacks = st, lacks
		})
		if changed { // said once, however often a source looks
			log.InfoContext(ctx, "source has changed its state", "status", st, "lacks", lacks)
		}
	}
	env.Problem = func(err error) {
		text := ""
		if err != nil {
			text = redact.Text(err.Error())
		}
		m.set(func(r *Row) { r.LastError = text })
	}
	env.Emit = func(ctx context.Context, events ...event.Event) error {
		err := s.env.Emit(ctx, events...)
		if err == nil {
			m.told()
		}
		return err
	}
	env.Told = m.told
	env.Memory = prefixed{s.env.Memory, "source." + m.row.Name + "."}
	return m.source.Run(ctx, &env)
}

func (m *member) told() {
	now := time.Now().UTC()
	m.set(func(r *Row) { r.LastEvent = &now })
}

func (m *member) set(change func(*Row)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.row)
}

// prefixed keeps the sources' keys apart.
type prefixed struct {
	Memory
	prefix string
}

func (p prefixed) Load(ctx context.Context, key string) (string, error) {
	return p.Memory.Load(ctx, p.prefix+key)
}

func (p prefixed) Store(ctx context.Context, key, value string) error {
	return p.Memory.Store(ctx, p.prefix+key, value)
}
