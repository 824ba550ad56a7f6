package program

import (
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/tocsin-events/tocsin/internal/flow/jq"
)

// A Request is a request that a task wants sent. Redirects are not followed by who
// sends it: they are answers (DSL reference, "HTTP Call").
type Request struct {
	Method  string            `json:"method"`
	URI     string            `json:"uri"` // absolute, http or https
	Headers map[string]string `json:"headers,omitempty"`
	Body    []byte            `json:"body,omitempty"`
	// Auth is never written anywhere.
	Auth *Auth `json:"-"`
	// TLS is how the connection is secured; nil for what the system trusts. It is never
	// written anywhere.
	TLS *TLS `json:"-"`
	// Output is what becomes the task's output: content, response or raw.
	Output string `json:"output"`
	// Redirect makes statuses of 300 to 399 no failure.
	Redirect bool `json:"redirect,omitempty"`
}

// Auth is how a request signs in.
type Auth struct {
	Scheme             string // basic or bearer
	Username, Password string
	Token              string
}

// Header is the value of the Authorization header.
func (a *Auth) Header() string {
	if a.Scheme == "basic" {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(a.Username+":"+a.Password))
	}
	return "Bearer " + a.Token
}

// A Response is what came back to a Request.
type Response struct {
	Status  int
	Headers http.Header
	Body    []byte
}

// Answer makes the task's output of a response, or its failure. At is left to the
// caller.
func (r *Request) Answer(res Response) Answer {
	if most := 299 + 100*ifelse(r.Redirect, 1, 0); res.Status < 200 || res.Status > most {
		said := http.StatusText(res.Status) + " " + strings.TrimSpace(strings.ToValidUTF8(string(res.Body[:min(len(res.Body), 200)]), ""))
		return Answer{Err: Failure(TypeCommunication, res.Status, "%s %s answered %d %s", r.Method, r.URI, res.Status, strings.TrimSpace(said))}
	}
	if r.Output == "raw" {
		return sizedAnswer(base64.StdEncoding.EncodeToString(res.Body))
	}
	content, err := decodeBody(res)
	if err != nil {
		return Answer{Err: Failure(TypeCommunication, 502, "%s %s answered %v", r.Method, r.URI, err)}
	}
	if r.Output != "response" {
		return sizedAnswer(content)
	}
	return sizedAnswer(map[string]any{
		"request":    map[string]any{"method": r.Method, "uri": r.URI, "headers": stringMap(r.Headers)},
		"statusCode": res.Status, "headers": headerMap(res.Headers), "content": content,
	})
}

// Failed is the answer where no response came: the service could not be reached.
func (r *Request) Failed(err error) Answer {
	return Answer{Err: Failure(TypeCommunication, http.StatusServiceUnavailable, "%s %s: %v", r.Method, r.URI, err)}
}

func sizedAnswer(output any) Answer {
	if _, err := jq.Size(output, jq.MaxResult); err != nil {
		return Answer{Err: Failure(TypeCommunication, http.StatusRequestEntityTooLarge, "the answer: %v", err)}
	}
	return Answer{Output: output}
}

func ifelse(condition bool, yes, no int) int {
	if condition {
		return yes
	}
	return no
}

// decodeBody reads JSON where the content type says so, or says nothing and it is;
// text as text, and anything else as base64.
func decodeBody(res Response) (any, error) {
	if len(res.Body) == 0 {
		return nil, nil
	}
	kind, _, err := mime.ParseMediaType(res.Headers.Get("Content-Type"))
	isJSON := kind == "application/json" || strings.HasSuffix(kind, "+json")
	if isJSON || err != nil {
		v, err := jq.Decode(res.Body)
		if err == nil {
			return v, nil
		}
		if isJSON {
			return nil, fmt.Errorf("what it calls %s and is not: %w", kind, err)
		}
	}
	if utf8.Valid(res.Body) {
		return string(res.Body), nil
	}
	return base64.StdEncoding.EncodeToString(res.Body), nil
}

func stringMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func headerMap(h http.Header) map[string]any {
	out := make(map[string]any, len(h))
	for k, v := range h {
		out[strings.ToLower(k)] = strings.Join(v, ", ")
	}
	return out
}
