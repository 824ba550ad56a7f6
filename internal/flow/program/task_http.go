package program

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// call: http

type httpTask struct {
	method, endpoint, headers, query, body *template
	auth                                   *auth
	tls                                    *secured
	output                                 string
	redirect                               bool
}

func (c *compiler) http(with *node, tls *secured) runner {
	h := &httpTask{tls: tls}
	if !c.object(with, "http", "method", "endpoint", "headers", "query", "body", "output", "redirect") {
		return h
	}
	if c.required(with, "method", "method: get") != "" {
		h.method = c.template(with.field("method"))
		if !h.method.dynamic && !validMethod(textOf(h.method.constant)) {
			c.fail(with.field("method"), "write method: get", "%q is no method", textOf(h.method.constant))
		}
	}
	endpoint := with.field("endpoint")
	if endpoint == nil {
		c.fail(with, "write endpoint: https://example.com/{id}", "endpoint is missing")
		return h
	}
	h.endpoint, h.auth = c.endpoint(endpoint)
	h.headers, h.query, h.body = c.textMap(with, "headers"), c.textMap(with, "query"), c.template(with.field("body"))
	h.output, h.redirect = c.outputForm(with.field("output")), c.boolean(with.field("redirect"), false)
	return h
}

func validMethod(method string) bool {
	return slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, strings.ToUpper(method))
}

// textMap compiles an object of texts, or an expression that gives one.
func (c *compiler) textMap(with *node, name string) *template {
	n := with.field(name)
	if n == nil {
		return nil
	}
	t := c.template(n)
	if n.kind != object && (!t.dynamic || n.kind == array) {
		c.fail(n, "write "+name+": {name: value}", "%s is an object, not %s", name, n.what())
	}
	return t
}

func (c *compiler) outputForm(n *node) string {
	if n == nil {
		return "content"
	}
	form, _ := n.text()
	if !slices.Contains([]string{"content", "response", "raw"}, form) {
		c.fail(n, "write output: content, response or raw", "output says what becomes the task's output")
	}
	return form
}

// endpoint compiles a URI template, an expression, or an object with a uri and an
// authentication.
func (c *compiler) endpoint(n *node) (*template, *auth) {
	if n.kind != object {
		c.checkURI(n)
		return c.template(n), nil
	}
	if !c.object(n, "endpoint", "uri", "authentication") {
		return &template{}, nil
	}
	uri := n.field("uri")
	if uri == nil {
		c.fail(n, "write uri: https://example.com/{id}", "uri is missing")
		return &template{}, c.auth(n.field("authentication"))
	}
	c.checkURI(uri)
	return c.template(uri), c.auth(n.field("authentication"))
}

// checkURI refuses what can't become the URI of a request.
func (c *compiler) checkURI(n *node) {
	text, ok := n.text()
	if _, dynamic := unwrap(text); dynamic && ok {
		return
	}
	u, err := url.Parse(placeholder.ReplaceAllString(text, "x"))
	if !ok || err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		c.fail(n, "write https://example.com/{id}", "an endpoint is an absolute URI of http or https")
	}
}

// An auth is how a request signs in, as the document says it.
type auth struct {
	scheme                    string
	username, password, token *template
	secret                    string // whose keys these are, where the document uses one
}

// auth compiles an authentication policy, or the name of one in use.authentications.
func (c *compiler) auth(n *node) *auth {
	if n == nil {
		return nil
	}
	if name, ok := n.field("use").text(); ok && len(n.fields) == 1 {
		if n = c.reusable(n, "authentications", name); n == nil {
			return nil
		}
	}
	if n.kind != object || len(n.fields) != 1 {
		c.fail(n, "write basic: {username: …, password: …} or bearer: {token: …}", "an authentication is one scheme")
		return nil
	}
	f := n.fields[0]
	a := &auth{scheme: f.name}
	switch f.name {
	case "basic":
		a.username, a.password = c.credential(f.value, a, "username", "password")
	case "bearer":
		a.token, _ = c.credential(f.value, a, "token", "")
	case "digest", "oauth2", "oidc", "certificate":
		c.fail(f.value, "use basic or bearer", "unsupported authentication %s", f.name)
	default:
		c.unknownKey(n, f, []string{"basic", "bearer", "use"})
	}
	return a
}

// credential compiles the fields of a scheme, or the name of a secret with them.
func (c *compiler) credential(n *node, a *auth, first, second string) (one, two *template) {
	if name, ok := n.field("use").text(); ok && len(n.fields) == 1 {
		if !slices.Contains(c.secrets, name) {
			c.fail(n, "add it to use.secrets", "the secret %q is not declared", name)
		}
		a.secret = name
		return nil, nil
	}
	known := []string{first}
	if second != "" {
		known = append(known, second)
	}
	if !c.object(n, a.scheme, known...) {
		return nil, nil
	}
	for _, name := range known {
		if n.field(name) == nil {
			c.fail(n, "write "+name+": ${ $secrets.name }", "%s is missing", name)
		}
	}
	return c.template(n.field(first)), c.template(n.field(second))
}

// resolve makes the credentials for one request.
func (a *auth) resolve(x *exec, input any) (*Auth, error) {
	if a == nil {
		return nil, nil
	}
	out := &Auth{Scheme: a.scheme}
	if a.secret != "" {
		v, err := x.secret(a.secret)
		if err != nil {
			return nil, err
		}
		m, isObject := v.(map[string]any)
		if !isObject {
			out.Token = textOf(v)
			return out, a.complete(out)
		}
		out.Username, out.Password, out.Token = textOf(m["username"]), textOf(m["password"]), textOf(m["token"])
		return out, a.complete(out)
	}
	for _, part := range []struct {
		from *template
		to   *string
	}{{a.username, &out.Username}, {a.password, &out.Password}, {a.token, &out.Token}} {
		if part.from == nil {
			continue
		}
		v, err := x.template(part.from, input)
		if err != nil {
			return nil, err
		}
		*part.to = textOf(v)
	}
	return out, a.complete(out)
}

func (a *auth) complete(out *Auth) error {
	if (a.scheme == "bearer" && out.Token == "") || (a.scheme == "basic" && out.Username == "") {
		return Failure(TypeAuthentication, 401, "there are no credentials for %s", a.scheme)
	}
	return nil
}

func (h *httpTask) run(x *exec, a *activation, input any) (any, error) {
	r, err := h.request(x, input)
	if err != nil {
		return nil, err
	}
	return x.do(a, Effect{Kind: EffectHTTP, HTTP: r})
}

func (h *httpTask) request(x *exec, input any) (*Request, error) {
	method, err := x.template(h.method, input)
	if err != nil {
		return nil, err
	}
	r := &Request{Method: strings.ToUpper(textOf(method)), Output: h.output, Redirect: h.redirect, Headers: map[string]string{}}
	if !validMethod(r.Method) {
		return nil, Failure(TypeExpression, 400, "%q is no method", r.Method)
	}
	uri, err := x.template(h.endpoint, input)
	if err != nil {
		return nil, err
	}
	if r.URI, err = expand(textOf(uri), input, h.endpoint.dynamic); err != nil {
		return nil, err
	}
	if r.URI, err = x.query(h.query, r.URI, input); err != nil {
		return nil, err
	}
	if err := x.headers(h.headers, r, input); err != nil {
		return nil, err
	}
	if r.Auth, err = h.auth.resolve(x, input); err != nil {
		return nil, err
	}
	if r.TLS, err = h.tls.resolve(x, input); err != nil {
		return nil, err
	}
	return r, x.body(h.body, r, input)
}

// expand fills {name} with the keys of the task's input (RFC 6570, level 1).
func expand(uri string, input any, computed bool) (string, error) {
	var missing string
	if !computed {
		values, _ := input.(map[string]any)
		uri = placeholder.ReplaceAllStringFunc(uri, func(p string) string {
			v, ok := values[p[1:len(p)-1]]
			if !ok {
				missing = p
				return p
			}
			return strings.ReplaceAll(url.QueryEscape(textOf(v)), "+", "%20")
		})
	}
	if missing != "" {
		return "", Failure(TypeExpression, 400, "the endpoint needs %s, which the task's input has not", missing)
	}
	u, err := url.Parse(uri)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", Failure(TypeConfiguration, 400, "%q is no absolute URI of http or https", uri)
	}
	return uri, nil
}

// query adds parameters to a URI.
func (x *exec) query(t *template, uri string, input any) (string, error) {
	if t == nil {
		return uri, nil
	}
	v, err := x.template(t, input)
	if err != nil {
		return "", err
	}
	values, ok := v.(map[string]any)
	if !ok {
		if v == nil {
			return uri, nil
		}
		return "", Failure(TypeExpression, 400, "query is an object, not %s", kindName(v))
	}
	u, err := url.Parse(uri)
	if err != nil {
		return "", Failure(TypeConfiguration, 400, "%q is no URI", uri)
	}
	q := u.Query()
	for name, value := range values {
		if many, ok := value.([]any); ok {
			for _, one := range many {
				q.Add(name, textOf(one))
			}
		} else if value != nil {
			q.Set(name, textOf(value))
		}
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func (x *exec) headers(t *template, r *Request, input any) error {
	if t == nil {
		return nil
	}
	v, err := x.template(t, input)
	if err != nil {
		return err
	}
	values, ok := v.(map[string]any)
	if !ok && v != nil {
		return Failure(TypeExpression, 400, "headers is an object, not %s", kindName(v))
	}
	for _, name := range slices.Sorted(maps.Keys(values)) { // so that a replay fails as before
		text := textOf(values[name])
		if strings.ContainsAny(name+text, "\r\n\x00") || name == "" {
			return Failure(TypeExpression, 400, "%q is no header", name)
		}
		r.Headers[http.CanonicalHeaderKey(name)] = text
	}
	return nil
}

// body sets what is sent: a text as it is, a form where the content type says so,
// anything else as JSON.
func (x *exec) body(t *template, r *Request, input any) error {
	if t == nil {
		return nil
	}
	v, err := x.template(t, input)
	if err != nil || v == nil {
		return err
	}
	kind := r.Headers["Content-Type"]
	if text, ok := v.(string); ok {
		r.Body = []byte(text)
		if kind == "" {
			r.Headers["Content-Type"] = "text/plain; charset=utf-8"
		}
		return nil
	}
	if form, ok := v.(map[string]any); ok && strings.HasPrefix(kind, "application/x-www-form-urlencoded") {
		values := url.Values{}
		for name, value := range form {
			values.Set(name, textOf(value))
		}
		r.Body = []byte(values.Encode())
		return nil
	}
	if kind == "" {
		r.Headers["Content-Type"] = "application/json"
	}
	if r.Body, err = json.Marshal(v); err != nil {
		return Failure(TypeExpression, 400, "the body: %v", err)
	}
	return nil
}
