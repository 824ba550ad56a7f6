package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/egress"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
)

// Sends: one request. The body is the plain one of seed 003, the CloudEvent, or
// what the settings make of the event. Every request has webhook-id, the
// idempotency key, and webhook-timestamp; with a secret also webhook-signature
// (Standard Webhooks 1.0, https://www.standardwebhooks.com).
// Success: any 2xx.
func init() {
	register(Mode{Name: "webhook", Doc: "An HTTP request to a URL of yours, with a body of your own making where you want one, signed by Standard Webhooks."},
		webhookSettings{Method: http.MethodPost, Format: "plain", Timeout: defaultTimeout}, newWebhook)
}

type webhookSettings struct {
	URL     string          `json:"url" required:"true" secret:"url" doc:"Where the request goes. Behind the host, {{ expressions }} are filled in."`
	Method  string          `json:"method" doc:"POST, PUT, PATCH, DELETE or GET."`
	Headers headers         `json:"headers" secret:"values" doc:"Header fields: names and values with {{ expressions }}, or one CEL expression that gives a map of them."`
	Body    string          `json:"body" doc:"Text with {{ expressions }}, or one CEL expression whose value is the body; empty for the format. An expression sees the event as filters do, and notification.{key,rule,severity,title,text,link,brand,resolved,user,recipients}."`
	Format  string          `json:"format" doc:"Body where none is given: plain or cloudevents."`
	Secret  string          `json:"secret" secret:"whole" stays:"true" doc:"Key that signs: whsec_ and base64; while it is changed, the new and the old with a space between. Empty for no signature."`
	Timeout config.Duration `json:"timeout" doc:"How long an answer may take."`
}

type webhook struct {
	env     *Env
	s       webhookSettings
	where   *pattern
	fields  map[string]*pattern
	headers *filter.Expression // in place of fields
	body    *pattern
	mapping *filter.Expression // in place of body
	keys    []*standardwebhooks.Webhook
}

func newWebhook(s webhookSettings, env *Env) (Transport, error) {
	w := &webhook{env: env, s: s, fields: map[string]*pattern{}}
	if !slices.Contains([]string{"POST", "PUT", "PATCH", "DELETE", "GET"}, s.Method) {
		return nil, event.Invalidf("settings.method: %q is unknown: use POST, PUT, PATCH, DELETE or GET", cut(s.Method, 16))
	}
	if s.Format != "plain" && s.Format != "cloudevents" {
		return nil, event.Invalidf("settings.format: %q is unknown: use plain or cloudevents", cut(s.Format, 16))
	}
	fixed, _, _ := strings.Cut(s.URL, "{{")
	if _, err := destination(fixed, s.Timeout); err != nil {
		return nil, err
	}
	if _, rest, _ := strings.Cut(fixed, "://"); len(fixed) < len(s.URL) && !strings.ContainsAny(rest, "/?") {
		return nil, event.Invalidf("settings.url: an expression may stand behind the host only")
	}
	var err error
	if w.where, err = parseTemplate(env.Filter, "url", s.URL); err != nil {
		return nil, err
	}
	for secret := range strings.FieldsSeq(s.Secret) {
		key, err := standardwebhooks.NewWebhook(secret)
		if err != nil || strings.TrimPrefix(secret, "whsec_") == "" {
			return nil, event.Invalidf("settings.secret: must be whsec_ and base64, such as openssl rand -base64 32 gives")
		}
		w.keys = append(w.keys, key)
	}
	if err := w.parseHeaders(); err != nil {
		return nil, err
	}
	return w, w.parseBody()
}

func (w *webhook) parseHeaders() (err error) {
	if w.s.Headers.expression != "" {
		if w.headers, err = w.env.Filter.CompileExpression(w.s.Headers.expression, notification); err != nil {
			return event.Invalidf("settings.headers: %w", err)
		}
	}
	for name, text := range w.s.Headers.templates {
		value := text
		if isTemplate(text) {
			value = "" // judged when it is known
		}
		if err := checkHeader(name, value); err != nil {
			return event.Invalidf("settings.headers: %w", err)
		}
		if w.fields[name], err = parseTemplate(w.env.Filter, "headers."+name, text); err != nil {
			return err
		}
	}
	return nil
}

func (w *webhook) parseBody() (err error) {
	switch {
	case strings.TrimSpace(w.s.Body) == "":
	case isTemplate(w.s.Body):
		w.body, err = parseTemplate(w.env.Filter, "body", w.s.Body)
	default:
		if w.mapping, err = w.env.Filter.CompileExpression(w.s.Body, notification); err != nil {
			err = event.Invalidf("settings.body: %w", err)
		}
	}
	return err
}

// Send implements Transport.
func (w *webhook) Send(ctx context.Context, m *Message) (Answer, error) {
	c, err := w.request(m)
	if err != nil {
		return Answer{}, err
	}
	if err := w.sign(c, m.Key, time.Now()); err != nil {
		return Answer{}, err
	}
	return w.env.do(ctx, c)
}

// request makes the request of a message, without its signature. Errors are of
// type *MappingError, or of class event.ErrInvalid.
func (w *webhook) request(m *Message) (call, error) {
	in, variables := filter.NewInput(m.Event), m.variables()
	c := call{method: w.s.Method, limit: time.Duration(w.s.Timeout)}
	var err error
	if c.header, err = w.header(in, variables); err != nil {
		return c, err
	}
	where, err := w.where.render(in, variables, asURL)
	if err != nil {
		return c, err
	}
	if c.url, err = egress.ParseURL(where); err != nil {
		return c, &MappingError{"url", w.s.URL, err}
	}
	var media string
	if c.body, media, err = w.content(m, in, variables, c.header.Get("Content-Type")); err != nil {
		return c, err
	}
	if c.header.Get("Content-Type") == "" {
		c.header.Set("Content-Type", media)
	}
	return c, nil
}

func (w *webhook) header(in *filter.Input, variables map[string]any) (http.Header, error) {
	h := http.Header{}
	add := func(part, expression, name, value string) error {
		if err := checkHeader(name, value); err != nil {
			return &MappingError{part, expression, err}
		}
		h.Set(name, value)
		return nil
	}
	for name, t := range w.fields {
		value, err := t.render(in, variables, asText)
		if err == nil {
			err = add(t.part, t.source, name, strings.TrimSpace(value))
		}
		if err != nil {
			return nil, err
		}
	}
	if w.headers == nil {
		return h, nil
	}
	value, err := w.headers.Eval(in, variables)
	pairs, isMap := value.(map[string]any)
	if err == nil && !isMap {
		err = errors.New("the value is no map of names and values")
	}
	if err != nil {
		return nil, &MappingError{"headers", w.headers.String(), err}
	}
	for name, v := range pairs {
		text, err := write(v, asText, false)
		if err == nil {
			err = add("headers", w.headers.String(), name, text)
		}
		if err != nil {
			return nil, err
		}
	}
	return h, nil
}

// content is the body and its media type; media is what the settings say of it.
func (w *webhook) content(m *Message, in *filter.Input, variables map[string]any, media string) (body []byte, kind string, err error) {
	switch {
	case w.body != nil:
		f := asText
		switch first := strings.TrimSpace(w.s.Body)[0]; {
		case strings.Contains(media, "json"), media == "" && (first == '{' && !strings.HasPrefix(strings.TrimSpace(w.s.Body), "{{") || first == '['):
			f, kind = asJSON, "application/json"
		case strings.Contains(media, "x-www-form-urlencoded"):
			f = asURL
		default:
			kind = "text/plain; charset=utf-8"
		}
		text, err := w.body.render(in, variables, f)
		if err == nil && f == asJSON && !json.Valid([]byte(text)) {
			err = &MappingError{"body", w.s.Body, event.Invalidf("what the template makes is no JSON")}
		}
		return []byte(text), kind, err
	case w.mapping != nil:
		return w.mapped(in, variables, media)
	case w.s.Format == "cloudevents":
		return m.Event.AppendJSON(nil), event.JSONMedia, nil
	default:
		body, err := json.Marshal(plainBody(m))
		return body, "application/json", err
	}
}

func (w *webhook) mapped(in *filter.Input, variables map[string]any, media string) (body []byte, kind string, err error) {
	value, err := w.mapping.Eval(in, variables)
	if err != nil {
		return nil, "", &MappingError{"body", w.mapping.String(), err}
	}
	if text, ok := value.(string); ok && !strings.Contains(media, "json") {
		body, kind = []byte(text), "text/plain; charset=utf-8"
	} else {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(value); err != nil {
			return nil, "", &MappingError{"body", w.mapping.String(), err}
		}
		body, kind = bytes.TrimSuffix(b.Bytes(), []byte("\n")), "application/json"
	}
	if len(body) > maxBody {
		return nil, "", &MappingError{"body", w.mapping.String(), event.Invalidf("longer than %d bytes", maxBody)}
	}
	return body, kind, nil
}

// plainBody is seed 003's.
func plainBody(m *Message) map[string]any {
	return map[string]any{
		"body": clean(m.Text), "severity": m.Severity.String(), "user_email": m.person().Email, "user_username": m.person().Username,
		"event_user_email": m.Event.AuthEmail, "event_user_username": m.Event.AuthName,
	}
}

// sign adds the headers of Standard Webhooks.
func (w *webhook) sign(c call, key string, now time.Time) error {
	c.header["Webhook-Id"] = []string{key}
	c.header["Webhook-Timestamp"] = []string{strconv.FormatInt(now.Unix(), 10)}
	var signatures []string
	for _, k := range w.keys {
		s, err := k.Sign(key, now, c.body)
		if err != nil {
			return event.Invalidf("webhook: sign: %w", err)
		}
		signatures = append(signatures, s)
	}
	if len(signatures) > 0 {
		c.header["Webhook-Signature"] = []string{strings.Join(signatures, " ")}
	}
	return nil
}
