package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/state"
)

// group is the model that is changed, as identity has it.
type group struct {
	Name string `json:"name"`
}

// changer serves one request: a group is changed. It is made of the server's own
// parts, wired as internal/app does; where it is quiet, the same change makes no
// event, so that nothing goes into the outbox or the journal. A real server has no
// such switch.
type changer struct {
	state    *state.State
	identity *identity.Identity
	groups   state.Collection[group]
	ids      []state.ObjectID // one for each client
	token    string
}

// changeRate gives the changes a second of so many clients.
func (b *bench) changeRate(ctx context.Context, quiet bool, clients, total int) (rate float64, err error) {
	dir, err := b.folder("change")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, stop, err := startChanger(ctx, dir, quiet, clients)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	server := &http.Server{Handler: http.HandlerFunc(c.serve), ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		err = errors.Join(err, server.Close())
		if end := <-served; !errors.Is(end, http.ErrServerClosed) {
			err = errors.Join(err, end)
		}
	}()
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client, at := &http.Client{Transport: transport}, "http://"+l.Addr().String()
	var all sync.WaitGroup
	failed := make([]error, clients)
	began := time.Now()
	for n := range clients {
		all.Go(func() {
			for i := range total / clients {
				if failed[n] = patch(ctx, client, at+"/v1/groups/"+c.ids[n].String(), c.token, fmt.Sprintf(`{"name":"group %d %d"}`, n, i)); failed[n] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return float64(total/clients*clients) / time.Since(began).Seconds(), errors.Join(failed...)
}

// startChanger opens state and journal in a folder, with a token and the groups.
func startChanger(ctx context.Context, dir string, quiet bool, clients int) (_ *changer, stop func() error, err error) {
	var open []func() error
	stop = func() error {
		var errs []error
		for i := range open {
			errs = append(errs, open[len(open)-1-i]())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stop())
		}
	}()
	types, log := catalog.New(), slog.New(slog.DiscardHandler)
	j, err := journal.Open(ctx, journal.Options{Dir: filepath.Join(dir, "journal")})
	if err != nil {
		return nil, nil, err
	}
	open = append(open, j.Close)
	const base = "http://tocsin.example"
	s, err := state.Open(ctx, state.Options{Dir: dir, Source: base, Significant: base, Redact: func(e *event.Event) { ingest.Redact(types, e) }})
	if err != nil {
		return nil, nil, err
	}
	open = append(open, s.Close)
	in := ingest.New(ingest.Options{
		Journal: j, Catalog: types, Enrich: func(*event.Event) {}, Unknown: func() ingest.Policy { return "accept" }, Bases: []string{base},
	})
	outbox := ingest.NewOutbox(in, s, log, func(uint64) {})
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- outbox.Run(running) }()
	open = append(open, func() error { cancel(); return <-ended })
	s.SetRecorder(outbox.Record)
	key, err := state.OpenKey(dir)
	if err != nil {
		return nil, nil, err
	}
	c := &changer{
		state: s, identity: identity.New(identity.Options{State: s, Folder: state.NewFolder(s), Key: key, Source: base, Logger: log}),
		groups: state.Collection[group]{
			App: "identity", Model: "group", Quiet: quiet,
			Name: func(g *group) string { return g.Name }, Keys: func(g *group) map[string]string { return map[string]string{"name": strings.ToLower(g.Name)} },
		},
	}
	return c, stop, c.prepare(ctx, clients)
}

// prepare makes a token, and a group for each client.
func (c *changer) prepare(ctx context.Context, clients int) (err error) {
	system := &identity.Principal{AuthType: "system", Name: "tocsin", Scopes: identity.Scopes()}
	_, c.token, err = c.identity.CreateToken(ctx, state.System(), system, identity.Token{Name: "changer", Scopes: []identity.Scope{identity.Admin}})
	if err != nil {
		return err
	}
	return c.state.Write(ctx, state.System(), func(tx *state.Tx) error {
		for n := range clients {
			r, err := c.groups.Insert(tx, group{fmt.Sprintf("group %d", n)})
			if err != nil {
				return err
			}
			c.ids = append(c.ids, r.ID)
		}
		return nil
	})
}

// serve answers PATCH /v1/groups/{id}: who asks, one transaction, the new object.
func (c *changer) serve(w http.ResponseWriter, r *http.Request) {
	changed, err := c.change(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"id": changed.ID.String(), "name": changed.Value.Name, "updated": changed.Updated}) // fails only where the client has gone
}

func (c *changer) change(r *http.Request) (changed state.Record[group], err error) {
	by := state.Cause{ClientIP: "127.0.0.1", Request: map[string]any{
		"method": r.Method, "path": r.URL.Path, "args": map[string]any{"query": r.URL.RawQuery}, "user_agent": r.UserAgent(), "request_id": string(event.NewID()),
	}}
	who, err := c.identity.Authenticate(r.Context(), by, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if err != nil {
		return changed, err
	}
	by.AuthType, by.AuthID, by.AuthName = who.AuthType, who.ID, who.Name
	id, err := state.ParseID(strings.TrimPrefix(r.URL.Path, "/v1/groups/"))
	if err != nil {
		return changed, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return changed, err
	}
	err = c.state.Write(r.Context(), by, func(tx *state.Tx) error {
		changed, err = c.groups.Update(tx, id, state.AnyVersion, func(g *group) error { return json.Unmarshal(body, g) })
		return err
	})
	return changed, err
}

// patch makes a request that changes something.
func patch(ctx context.Context, client *http.Client, target, token, body string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPatch, target, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/merge-patch+json")
	r.Header.Set("Authorization", "Bearer "+token)
	got, err := client.Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	said, err := io.ReadAll(got.Body)
	if err == nil && got.StatusCode != http.StatusOK {
		err = fmt.Errorf("PATCH %s: %s: %s", target, got.Status, said)
	}
	return err
}
