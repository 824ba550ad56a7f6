package flow

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow/program"
)

// openapi fetches an OpenAPI document, makes the request of one of its operations
// and sends that as http does. Documents are kept for a while.
func init() { registerKind(program.EffectOpenAPI, doOpenAPI) }

func doOpenAPI(ctx context.Context, e *Engine, r *Run, f *program.Effect) (outcome, error) {
	o := f.OpenAPI
	document, err := e.apis.get(ctx, e, o.Document, f.Until)
	if err != nil {
		if ctx.Err() != nil {
			return outcome{}, ctx.Err()
		}
		return e.concealed(ctx, err)
	}
	q, err := o.Request(document)
	if err != nil {
		return e.concealed(ctx, err)
	}
	if q.Auth != nil && isScheme(o.Document.URI, "https") && !isScheme(q.URI, "https") {
		return failed(program.Failure(program.TypeAuthorization, http.StatusForbidden,
			"%s leads operation %s to a server without TLS, where everybody could read the credentials", o.Document.URI, o.ID)), nil
	}
	answer, err := e.send(ctx, q, r.key(f), f.Until)
	return outcome{answer: answer}, err
}

func isScheme(uri, scheme string) bool {
	u, err := url.Parse(uri)
	return err == nil && u.Scheme == scheme
}

// concealed is the outcome of a failure of the flow's; any other error stays one.
func (e *Engine) concealed(ctx context.Context, err error) (outcome, error) {
	failure, ok := errors.AsType[*program.Error](err)
	if !ok {
		return outcome{}, err
	}
	conceal, err := e.concealer(ctx)
	if err != nil {
		return outcome{}, err
	}
	shown := *failure
	shown.Detail = conceal.text(shown.Detail)
	return failed(&shown), nil
}

const (
	apiFresh = 5 * time.Minute // how long a document is used without asking again
	maxAPIs  = 16              // documents that are kept, each of maxAnswer bytes at most
)

// apiCache keeps documents. Its zero value is ready.
type apiCache struct {
	mu   sync.Mutex // guards kept
	kept map[[sha256.Size]byte]apiDocument
}

type apiDocument struct {
	body    []byte
	fetched time.Time
}

// get fetches a document, unless it was fetched lately by the same credentials. The
// error is a *program.Error, or that ctx has ended.
func (c *apiCache) get(ctx context.Context, e *Engine, q *program.Request, until time.Time) ([]byte, error) {
	what := q.URI
	if q.Auth != nil {
		what += "\x00" + q.Auth.Header()
	}
	key := sha256.Sum256([]byte(what))
	c.mu.Lock()
	known, ok := c.kept[key]
	c.mu.Unlock()
	if ok && time.Since(known.fetched) < apiFresh {
		return known.body, nil
	}
	res, err := e.exchange(ctx, q, "", until)
	if err != nil {
		return nil, notAnswered(q, err)
	}
	if res.Status < 200 || res.Status > 299 {
		return nil, q.Answer(res).Err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		c.kept = map[[sha256.Size]byte]apiDocument{}
	}
	c.kept[key] = apiDocument{res.Body, time.Now()}
	for len(c.kept) > maxAPIs {
		oldest := key
		for k, d := range c.kept {
			if d.fetched.Before(c.kept[oldest].fetched) {
				oldest = k
			}
		}
		delete(c.kept, oldest)
	}
	return res.Body, nil
}
