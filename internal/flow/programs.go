package flow

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
)

// programs keeps compiled flows by the hash of their documents.
type programs struct {
	e *Engine

	mu   sync.Mutex // guards both
	kept map[string]*program.Program
	age  []string // hashes, the oldest first
}

// maxPrograms is how many compiled flows are kept.
const maxPrograms = 500

func newPrograms(e *Engine) *programs { return &programs{e: e, kept: map[string]*program.Program{}} }

// compile compiles a document, and keeps what is valid.
func (p *programs) compile(document string) (*program.Program, error) {
	hash := hashOf(document)
	if known := p.get(hash); known != nil {
		return known, nil
	}
	made, err := program.Compile([]byte(document), program.Options{Functions: Functions()})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept[hash] == nil {
		p.kept[hash] = made
		p.age = append(p.age, hash)
	}
	if len(p.age) > maxPrograms {
		delete(p.kept, p.age[0])
		p.age = p.age[1:]
	}
	return made, nil
}

func (p *programs) get(hash string) *program.Program {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kept[hash]
}

// errNoVersion says that a version of a flow is not there any more.
var errNoVersion = errors.New("this version of the flow is not stored")

// ofHash is the program of a stored version. An error of class event.ErrInvalid is
// the document's fault; any other one is that it can't be read.
func (p *programs) ofHash(ctx context.Context, hash string) (*program.Program, error) {
	if known := p.get(hash); known != nil {
		return known, nil
	}
	document, err := p.e.document(ctx, hash)
	if err != nil {
		return nil, err
	}
	return p.compile(document)
}

// document reads a stored version.
func (e *Engine) document(ctx context.Context, hash string) (string, error) {
	var text string
	err := e.o.State.Reader().QueryRowContext(ctx, `SELECT document FROM flow_versions WHERE hash = $1`, hash).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("%w: %w", errNoVersion, event.NotFoundf("version %s", hash))
	}
	return text, wrap("read the flow", err)
}
