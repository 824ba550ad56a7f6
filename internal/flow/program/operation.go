package program

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/flow/jq"
)

// An Operation is an operation of an OpenAPI document (2.0, which is Swagger, or
// 3.x) that a task wants called.
type Operation struct {
	Document   *Request       `json:"document"` // fetches the document
	ID         string         `json:"operation"`
	Parameters map[string]any `json:"parameters,omitempty"`
	Auth       *Auth          `json:"-"`
	TLS        *TLS           `json:"-"` // also of the document's request
	Output     string         `json:"output"`
	Redirect   bool           `json:"redirect,omitempty"`
}

// Request makes the request of the operation, given the document. The error is an
// *Error.
func (o *Operation) Request(document []byte) (*Request, error) {
	root, err := openDocument(document)
	if err != nil {
		return nil, Failure(TypeConfiguration, 400, "%s: %v", o.Document.URI, err)
	}
	d := &apiDocument{root: root}
	path, method, shared, operation := d.find(o.ID)
	if operation == nil {
		return nil, Failure(TypeConfiguration, 400, "%s has no operation %q", o.Document.URI, o.ID)
	}
	base, err := d.base(o.Document.URI)
	if err != nil {
		return nil, Failure(TypeConfiguration, 400, "%s: %v", o.Document.URI, err)
	}
	r := &Request{Method: strings.ToUpper(method), Headers: map[string]string{}, Auth: o.Auth, TLS: o.TLS, Output: o.Output, Redirect: o.Redirect}
	call := &apiCall{operation: o, request: r, path: path, query: url.Values{}, used: map[string]bool{}}
	for _, list := range []any{shared["parameters"], operation["parameters"]} {
		items, _ := list.([]any)
		for _, item := range items {
			if err := call.parameter(d.resolve(item)); err != nil {
				return nil, err
			}
		}
	}
	if err := call.body(d.resolve(operation["requestBody"])); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(o.Parameters)) {
		if !call.used[name] {
			return nil, Failure(TypeConfiguration, 400, "operation %s has no parameter %q", o.ID, name)
		}
	}
	r.URI = strings.TrimSuffix(base, "/") + call.path
	if len(call.query) > 0 {
		r.URI += "?" + call.query.Encode()
	}
	return r, nil
}

func openDocument(document []byte) (map[string]any, error) {
	var v any
	var err error
	if start := bytes.TrimLeft(document, " \t\r\n"); len(start) > 0 && start[0] == '{' {
		v, err = jq.Decode(document)
	} else {
		err = yaml.Unmarshal(document, &v)
	}
	if err != nil {
		return nil, err
	}
	root, ok := v.(map[string]any)
	if !ok || (root["openapi"] == nil && root["swagger"] == nil) {
		return nil, errors.New("this is no OpenAPI document")
	}
	return root, nil
}

type apiDocument struct{ root map[string]any }

// find looks an operation up by its id.
func (d *apiDocument) find(id string) (path, method string, shared, operation map[string]any) {
	paths, _ := d.root["paths"].(map[string]any)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item := d.resolve(paths[path])
		for _, method := range []string{"get", "put", "post", "delete", "options", "head", "patch"} {
			if op, ok := item[method].(map[string]any); ok && op["operationId"] == id {
				return path, method, item, op
			}
		}
	}
	return "", "", nil, nil
}

// resolve follows a local reference.
func (d *apiDocument) resolve(v any) map[string]any {
	for range 8 { // a reference to a reference; more is a circle
		m, _ := v.(map[string]any)
		ref, ok := m["$ref"].(string)
		if !ok {
			return m
		}
		pointer, local := strings.CutPrefix(ref, "#/")
		if !local {
			return nil
		}
		v, _ = lookup(any(d.root), "/"+pointer)
	}
	return nil
}

// base is the URI before the path of an operation.
func (d *apiDocument) base(from string) (string, error) {
	document, err := url.Parse(from)
	if err != nil {
		return "", err
	}
	if d.root["swagger"] != nil {
		u := url.URL{Scheme: document.Scheme, Host: document.Host}
		if host, ok := d.root["host"].(string); ok && host != "" {
			u.Host = host
		}
		schemes, _ := d.root["schemes"].([]any)
		if len(schemes) > 0 {
			u.Scheme = textOf(schemes[0])
			for _, s := range schemes {
				if s == "https" {
					u.Scheme = "https"
				}
			}
		}
		path, _ := d.root["basePath"].(string)
		u.Path = path
		return u.String(), nil
	}
	servers, _ := d.root["servers"].([]any)
	if len(servers) == 0 {
		return document.Scheme + "://" + document.Host, nil
	}
	server := d.resolve(servers[0])
	text, _ := server["url"].(string)
	variables, _ := server["variables"].(map[string]any)
	for name, v := range variables {
		text = strings.ReplaceAll(text, "{"+name+"}", textOf(d.resolve(v)["default"]))
	}
	u, err := document.Parse(text)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// An apiCall puts parameters where the document wants them.
type apiCall struct {
	operation *Operation
	request   *Request
	path      string
	query     url.Values
	form      url.Values
	used      map[string]bool
}

func (c *apiCall) parameter(p map[string]any) error {
	name, _ := p["name"].(string)
	value, given := c.operation.Parameters[name]
	if !given {
		if p["required"] == true {
			return Failure(TypeConfiguration, 400, "operation %s needs the parameter %q", c.operation.ID, name)
		}
		return nil
	}
	c.used[name] = true
	text := textOf(value)
	many, isList := value.([]any)
	switch p["in"] {
	case "path":
		c.path = strings.ReplaceAll(c.path, "{"+name+"}", url.PathEscape(text))
	case "query":
		if !isList {
			many = []any{value}
		}
		for _, one := range many {
			c.query.Add(name, textOf(one))
		}
	case "header":
		if strings.ContainsAny(text, "\r\n\x00") {
			return Failure(TypeExpression, 400, "the parameter %q is no header", name)
		}
		c.request.Headers[name] = text
	case "cookie":
		if strings.ContainsAny(text, "\r\n\x00;") {
			return Failure(TypeExpression, 400, "the parameter %q is no cookie", name)
		}
		c.request.Headers["Cookie"] = strings.TrimPrefix(c.request.Headers["Cookie"]+"; "+name+"="+text, "; ")
	case "body":
		return c.json(value)
	case "formData":
		if c.form == nil {
			c.form = url.Values{}
		}
		c.form.Set(name, text)
		c.request.Headers["Content-Type"] = "application/x-www-form-urlencoded"
		c.request.Body = []byte(c.form.Encode())
	}
	return nil
}

// body sends the parameter "body", or all that is left over, as a request body of
// OpenAPI 3.
func (c *apiCall) body(body map[string]any) error {
	if body == nil {
		return nil
	}
	if value, given := c.operation.Parameters["body"]; given && !c.used["body"] {
		c.used["body"] = true
		return c.json(value)
	}
	rest := map[string]any{}
	for name, value := range c.operation.Parameters {
		if !c.used[name] {
			rest[name] = value
			c.used[name] = true
		}
	}
	if len(rest) == 0 {
		if body["required"] == true {
			return Failure(TypeConfiguration, 400, "operation %s needs a body", c.operation.ID)
		}
		return nil
	}
	return c.json(rest)
}

func (c *apiCall) json(value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return Failure(TypeExpression, 400, "the body: %v", err)
	}
	c.request.Body = body
	c.request.Headers["Content-Type"] = "application/json"
	return nil
}
