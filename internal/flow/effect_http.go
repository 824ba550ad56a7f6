package flow

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// http sends a request through the guarded way out, by the rules of webhooks: at
// least once, and under the same Idempotency-Key whenever it is sent again. A
// redirect is an answer and not followed. Secrets stay out of what is journalled.
func init() { registerKind(program.EffectHTTP, doHTTP) }

const (
	// answerTime is how long an exchange may take, where no timeout of the flow is
	// around it; longestAnswer is as much as such a timeout can give.
	answerTime    = time.Minute
	longestAnswer = 15 * time.Minute
	// maxAnswer is how many bytes of an answer are read.
	maxAnswer = 4 << 20
)

func doHTTP(ctx context.Context, e *Engine, r *Run, f *program.Effect) (outcome, error) {
	answer, err := e.send(ctx, f.HTTP, r.key(f), f.Until)
	return outcome{answer: answer}, err
}

// send makes an answer of a request. until is the flow's own limit; zero for none.
func (e *Engine) send(ctx context.Context, q *program.Request, key string, until time.Time) (program.Answer, error) {
	conceal, err := e.concealer(ctx)
	if err != nil {
		return program.Answer{}, err
	}
	var answer program.Answer
	res, err := e.exchange(ctx, q, key, until)
	switch {
	case ctx.Err() != nil: // the run is cancelled, or a timeout of the flow struck
		return answer, ctx.Err()
	case err != nil:
		answer = program.Answer{Err: notAnswered(q, err)}
	default:
		answer = q.Answer(res)
		if wait := res.Headers.Get("Retry-After"); answer.Err != nil && wait != "" {
			answer.Err.Detail += "; it wants to be left alone until Retry-After: " + wait
		}
	}
	hideHeaders(answer.Output)
	answer.Output = conceal.value(answer.Output)
	if answer.Err != nil {
		answer.Err.Detail = conceal.text(answer.Err.Detail)
	}
	return answer, nil
}

var (
	errNoTime  = errors.New("no answer in time")
	errTooMuch = fmt.Errorf("the answer has more than %d MiB", maxAnswer>>20)
)

// exchange sends a request and reads the answer, whatever its status.
func (e *Engine) exchange(ctx context.Context, q *program.Request, key string, until time.Time) (program.Response, error) {
	limit := answerTime
	if !until.IsZero() {
		limit = longestAnswer // the flow's own limit strikes by ctx
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNoTime)
	defer cancel()
	req, err := request(ctx, q, key)
	if err != nil {
		return program.Response{}, err
	}
	req.Header.Set("User-Agent", cmp.Or(req.Header.Get("User-Agent"), "Tocsin/"+e.o.Version))
	way := e.o.HTTP
	if q.TLS != nil {
		secure, err := q.TLS.Config()
		if err != nil {
			return program.Response{}, err
		}
		way = e.o.HTTPWith(secure)
	}
	client := http.Client{Transport: way, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return program.Response{}, plainError(ctx, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return program.Response{}, plainError(ctx, err)
	case len(body) > maxAnswer:
		return program.Response{}, errTooMuch
	}
	return program.Response{Status: res.StatusCode, Headers: res.Header, Body: body}, nil
}

// request is what is sent. A header that the document sets itself stays, but for
// that of an authentication.
func request(ctx context.Context, q *program.Request, key string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, q.Method, q.URI, bytes.NewReader(q.Body))
	if err != nil {
		return nil, event.Invalidf("the request can't be made: %s", redact.Text(err.Error()))
	}
	for name, value := range q.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json, text/plain;q=0.9, */*;q=0.8")
	}
	if key != "" && req.Header.Get("Idempotency-Key") == "" {
		req.Header.Set("Idempotency-Key", headerKey(key))
	}
	if q.Auth != nil {
		req.Header.Set("Authorization", q.Auth.Header())
	}
	return req, nil
}

// headerKey is an idempotency key as a header can hold it: visible ASCII, and no
// longer than what services take.
func headerKey(key string) string {
	const longest = 200
	plain := strings.IndexFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) < 0
	if plain && len(key) <= longest {
		return key
	}
	run, _, _ := strings.Cut(key, "/")
	sum := sha256.Sum256([]byte(key))
	return run + "/" + hex.EncodeToString(sum[:])
}

// plainError takes the URL out of net/http's errors, and tells our own limit apart.
func plainError(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errNoTime) {
		return errNoTime
	}
	for failed, ok := errors.AsType[*url.Error](err); ok; failed, ok = errors.AsType[*url.Error](err) {
		err = failed.Err
	}
	return err
}

// notAnswered is the failure of a request to which no answer came.
func notAnswered(q *program.Request, err error) *program.Error {
	what := q.Method + " " + q.URI
	if failure, ok := errors.AsType[*program.Error](err); ok {
		return failure
	}
	switch {
	case errors.Is(err, errNoTime):
		return program.Failure(program.TypeTimeout, http.StatusRequestTimeout, "%s: no answer within %s", what, event.FormatDuration(answerTime))
	case errors.Is(err, errTooMuch):
		return program.Failure(program.TypeCommunication, http.StatusRequestEntityTooLarge, "%s: %v", what, err)
	case errors.Is(err, event.ErrDenied):
		return program.Failure(program.TypeAuthorization, http.StatusForbidden, "%s: %v", what, err)
	case errors.Is(err, event.ErrInvalid):
		return program.Failure(program.TypeConfiguration, http.StatusBadRequest, "%s: %v", what, err)
	}
	return q.Failed(err).Err
}

// hideHeaders masks the headers in which a request carries its credentials, in an
// output of the form response.
func hideHeaders(output any) {
	response, _ := output.(map[string]any)
	sent, _ := response["request"].(map[string]any)
	headers, _ := sent["headers"].(map[string]any)
	if _, ours := response["statusCode"]; !ours {
		return
	}
	for name := range headers {
		if redact.Key(name) {
			headers[name] = redact.Mask
		}
	}
	if uri, ok := sent["uri"].(string); ok && headers != nil {
		sent["uri"] = redact.Text(uri)
	}
}
