package program

import "net/http"

// call: openapi

type openAPITask struct {
	document     *template
	documentAuth *auth
	operation    *template
	parameters   *template
	auth         *auth
	tls          *secured
	output       string
	redirect     bool
}

func (c *compiler) openapi(with *node, tls *secured) runner {
	o := &openAPITask{tls: tls}
	if !c.object(with, "openapi", "document", "operationId", "parameters", "authentication", "output", "redirect") {
		return o
	}
	document := with.field("document")
	if document == nil {
		c.fail(with, "write document: {endpoint: https://example.com/openapi.json}", "document is missing")
		return o
	}
	if c.object(document, "document", "endpoint", "name") {
		if endpoint := document.field("endpoint"); endpoint != nil {
			o.document, o.documentAuth = c.endpoint(endpoint)
		} else {
			c.fail(document, "write endpoint: https://example.com/openapi.json", "endpoint is missing")
		}
	}
	if c.required(with, "operationId", "operationId: getPetById") != "" {
		o.operation = c.template(with.field("operationId"))
	}
	o.parameters, o.auth = c.textMap(with, "parameters"), c.auth(with.field("authentication"))
	o.output, o.redirect = c.outputForm(with.field("output")), c.boolean(with.field("redirect"), false)
	return o
}

func (o *openAPITask) run(x *exec, a *activation, input any) (any, error) {
	uri, err := x.template(o.document, input)
	if err != nil {
		return nil, err
	}
	document := &Request{Method: http.MethodGet, Output: "raw", Headers: map[string]string{"Accept": "application/json, application/yaml"}}
	if document.URI, err = expand(textOf(uri), input, o.document.dynamic); err != nil {
		return nil, err
	}
	if document.Auth, err = o.documentAuth.resolve(x, input); err != nil {
		return nil, err
	}
	id, err := x.template(o.operation, input)
	if err != nil {
		return nil, err
	}
	op := &Operation{Document: document, ID: textOf(id), Output: o.output, Redirect: o.redirect}
	if o.parameters != nil {
		v, err := x.template(o.parameters, input)
		if err != nil {
			return nil, err
		}
		if op.Parameters, _ = v.(map[string]any); op.Parameters == nil && v != nil {
			return nil, Failure(TypeExpression, 400, "parameters is an object, not %s", kindName(v))
		}
	}
	if op.Auth, err = o.auth.resolve(x, input); err != nil {
		return nil, err
	}
	if op.TLS, err = o.tls.resolve(x, input); err != nil {
		return nil, err
	}
	document.TLS = op.TLS
	return x.do(a, Effect{Kind: EffectOpenAPI, OpenAPI: op})
}
