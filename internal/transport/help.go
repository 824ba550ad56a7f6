package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/tocsin-events/tocsin/internal/egress"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Help sends one message by shoutrrr: it reads a task, sends, and writes the
// result. It is the main function of a process of its own, whose default HTTP
// transport it replaces; no server may call it.
func Help(ctx context.Context, in io.Reader, out io.Writer) error {
	var t task
	if err := json.NewDecoder(io.LimitReader(in, 4*maxBody)).Decode(&t); err != nil {
		return fmt.Errorf("helper: %w", err)
	}
	policy, err := egress.PolicyOf(t.Egress)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.Limit)
	defer cancel()
	rec := &recorder{ctx: ctx, next: egress.New(policy, egress.Options{}).RoundTripper()}
	http.DefaultTransport = rec // that is what this process is for: most services take no client
	return json.NewEncoder(out).Encode(rec.result(send(t, rec), t.URL))
}

func send(t task, rec *recorder) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	var r router.ServiceRouter
	service, err := r.Locate(t.URL)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: rec, Timeout: t.Limit}
	switch s := service.(type) { // those with a transport of their own
	case interface{ SetHTTPClient(client *http.Client) }:
		s.SetHTTPClient(client)
	case interface{ GetHTTPClient() *http.Client }:
		if own := s.GetHTTPClient(); own != nil {
			*own = *client
		}
	}
	params := types.Params(t.Params)
	return service.Send(t.Text, &params)
}

// recorder is the transport of the helper: it keeps the last answer, and why
// there was none.
type recorder struct {
	ctx    context.Context //nolint:containedctx // shoutrrr hands none on
	next   http.RoundTripper
	status int
	header http.Header
	body   []byte
	host   string
	failed error
}

// maxRead is how much of an answer the services see.
const maxRead = 1 << 20

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.host = req.URL.Host
	res, err := r.next.RoundTrip(req.WithContext(r.ctx))
	r.failed = err
	if err != nil {
		r.status = 0
		return nil, err
	}
	defer res.Body.Close()
	whole, err := io.ReadAll(io.LimitReader(res.Body, maxRead))
	r.status, r.header, r.body = res.StatusCode, res.Header, whole[:min(len(whole), maxAnswer)]
	if err != nil {
		r.failed = err
	}
	res.Body = io.NopCloser(bytes.NewReader(whole))
	return res, nil
}

// result judges by what was seen on the wire first, because the services' errors
// tell neither status nor class.
func (r *recorder) result(err error, secret string) result {
	out := result{Status: r.status, Body: string(bytes.ToValidUTF8(r.body, []byte("�")))}
	if err == nil && (r.status == 0 || r.status/100 == 2) {
		return out
	}
	said := scrub(fmt.Sprint(err), secret)
	if r.status == 0 && r.failed != nil {
		err, said = r.failed, r.host+": "+scrub(r.failed.Error(), secret)
	} else if judged := judge(r.status, r.header, r.host); r.status != 0 && judged != nil {
		err, said, out.RetryAfter = judged, judged.Error(), RetryAfter(judged)
	}
	out.Error = said
	switch {
	case errors.Is(err, event.ErrDenied):
		out.Class = "denied"
	case errors.Is(err, event.ErrNotFound):
		out.Class = "not_found"
	case errors.Is(err, event.ErrUnavailable), r.status == 0 && r.failed != nil && !errors.Is(err, event.ErrInvalid):
		out.Class = "unavailable"
	default:
		out.Class = "invalid"
	}
	return out
}
