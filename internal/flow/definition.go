package flow

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Validity says whether a flow can run.
type Validity string

// The states of a flow.
const (
	Valid   Validity = "valid"
	Invalid Validity = "invalid"
)

// Definition is a flow as it is stored.
type Definition struct {
	Name      string   `json:"name"`      // of its document; of an unreadable one what it is stored under
	Namespace string   `json:"namespace"` // of its document
	Document  string   `json:"document"`  // as it was given, YAML or JSON
	Hash      string   `json:"version"`   // content hash of the document
	State     Validity `json:"state"`
	Reason    string   `json:"reason"` // why it is invalid; empty otherwise
	Scopes    []string `json:"scopes"` // what its service account may do
	Source    string   `json:"source"` // the file that it is kept in; empty for none
	// SourceHash is the version that the file had when it was read last: another one
	// in Hash means that somebody has changed the flow here and not there.
	SourceHash string `json:"source_version,omitempty"`
}

// Drifted reports whether a flow is another one than its file has.
func (d *Definition) Drifted() bool { return d.Source != "" && d.SourceHash != d.Hash }

var definitions = state.Collection[Definition]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "flow", Model: "flow",
	Name:  func(d *Definition) string { return d.Name },
	Check: checkDefinition,
}

// maxDocument is the largest flow, in bytes.
const maxDocument = 1 << 20

func checkDefinition(d *Definition) error {
	if len(d.Document) > maxDocument {
		return event.Invalidf("the document has %d bytes; at most %d are taken", len(d.Document), maxDocument)
	}
	if strings.TrimSpace(d.Document) == "" {
		return event.Invalidf("the document is empty")
	}
	return nil
}

// DefaultScopes are what a flow may do that asks for nothing else.
func DefaultScopes() []string { return []string{"emit"} }

// compile reads a document into what is stored of it. A wrong one is stored, too,
// with the reason.
func (e *Engine) compile(text string) Definition {
	d := Definition{Document: text, State: Valid, Scopes: DefaultScopes()}
	var head header
	_ = yaml.Unmarshal([]byte(text), &head) // what is wrong with it, the compiler says
	d.Name, d.Namespace, d.Hash = cmp.Or(head.Document.Name, "unnamed"), head.Document.Namespace, hashOf(text)
	_, err := e.programs.compile(text)
	if err == nil {
		err = head.validate()
	}
	if err != nil {
		d.State, d.Reason = Invalid, err.Error()
	} else if asked := head.Document.Metadata.Tocsin.Scopes; asked != nil {
		d.Scopes = asked
	}
	return d
}

func hashOf(document string) string {
	sum := sha256.Sum256([]byte(document))
	return hex.EncodeToString(sum[:])
}

// header is what of a document is asked for before it is compiled.
type header struct {
	Document struct {
		Namespace string `yaml:"namespace"`
		Name      string `yaml:"name"`
		Metadata  struct {
			Tocsin struct {
				Scopes []string `yaml:"scopes"`
			} `yaml:"tocsin"`
		} `yaml:"metadata"`
	} `yaml:"document"`
}

func (h *header) validate() error {
	for _, scope := range h.Document.Metadata.Tocsin.Scopes {
		if !slices.Contains([]string{"read", "emit", "admin"}, scope) {
			return event.Invalidf("/document/metadata/tocsin/scopes: %q is no scope: write read, emit or admin", scope)
		}
	}
	return nil
}

// Problems checks a document without storing it; none for a valid one.
func (e *Engine) Problems(text string) []program.Problem {
	_, err := e.programs.compile(text)
	if all, ok := errors.AsType[*program.InvalidError](err); ok {
		return all.Problems
	}
	return nil
}

// CreateFlow stores a flow, also an invalid one.
func (e *Engine) CreateFlow(ctx context.Context, by state.Cause, text, file string) (r state.Record[Definition], err error) {
	d := e.compile(text)
	if file != "" {
		d.Source, d.SourceHash = file, d.Hash
	}
	err = e.o.State.Write(ctx, by, func(tx *state.Tx) (err error) {
		if r, err = definitions.Insert(tx, d); err != nil {
			return err
		}
		return e.keep(tx, &r)
	})
	e.changedBy(err)
	return r, err
}

// UpdateFlow gives a flow a new version. Runs that have begun go on with theirs.
func (e *Engine) UpdateFlow(ctx context.Context, by state.Cause, id state.ObjectID, version int64, text string) (r state.Record[Definition], err error) {
	next := e.compile(text)
	err = e.o.State.Write(ctx, by, func(tx *state.Tx) (err error) {
		r, err = e.update(tx, id, version, next, "")
		return err
	})
	e.changedBy(err)
	return r, err
}

// update writes a new version; read is that of the file it comes from, empty where
// it comes from none.
func (e *Engine) update(tx *state.Tx, id state.ObjectID, version int64, next Definition, read string) (state.Record[Definition], error) {
	r, err := definitions.Update(tx, id, version, func(d *Definition) error {
		next.Source, next.SourceHash = d.Source, cmp.Or(read, d.SourceHash)
		*d = next
		return nil
	})
	if err != nil {
		return r, err
	}
	return r, e.keep(tx, &r)
}

// DeleteFlow removes a flow. Its triggers then fail to fetch it, and say so; runs
// that have begun go on.
func (e *Engine) DeleteFlow(ctx context.Context, by state.Cause, id state.ObjectID, version int64) error {
	err := e.o.State.Write(ctx, by, func(tx *state.Tx) error {
		if _, err := definitions.Delete(tx, id, version); err != nil {
			return err
		}
		return e.dropOwnTrigger(tx, id)
	})
	e.changedBy(err)
	return err
}

// GetFlow returns one flow.
func (e *Engine) GetFlow(ctx context.Context, id state.ObjectID) (state.Record[Definition], error) {
	return definitions.Get(ctx, e.o.State.Reader(), id)
}

// ListFlows lists flows by id.
func (e *Engine) ListFlows(ctx context.Context, after state.ObjectID, limit int) ([]state.Record[Definition], error) {
	return definitions.List(ctx, e.o.State.Reader(), after, limit)
}

// keep stores a version for the runs that will be pinned to it, and makes the
// trigger of the document's schedule block.
func (e *Engine) keep(tx *state.Tx, r *state.Record[Definition]) error {
	_, err := tx.ExecContext(tx.Context(), `INSERT INTO flow_versions (hash, document, created) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING`,
		r.Value.Hash, r.Value.Document, time.Now().UnixNano())
	if err != nil {
		return wrap("keep the flow's version", err)
	}
	return e.ownTrigger(tx, r)
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
