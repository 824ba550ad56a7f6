package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/app"
	"github.com/tocsin-events/tocsin/internal/event"
)

// client talks to a server: at $TOCSIN_URL with $TOCSIN_TOKEN, or to the one on
// this host through its socket.
type client struct {
	base  string
	token string
	http  *http.Client
	where string                                     // for messages
	sign  func(req *http.Request, body []byte) error // nil where a token is shown
}

func (c *cli) client() (*client, error) {
	if base := c.env("TOCSIN_URL"); base != "" {
		u, err := url.Parse(base)
		if err != nil || u.Host == "" {
			return nil, event.Invalidf("TOCSIN_URL: %q is not a URL such as https://tocsin.example", base)
		}
		base = strings.TrimRight(base, "/")
		token := c.env("TOCSIN_TOKEN")
		if token == "" {
			if token, err = c.sessionToken(base); err != nil {
				return nil, err
			}
		}
		return &client{base: base, token: token, http: &http.Client{}, where: base}, nil
	}
	path := app.SocketPath(c.data)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &client{base: "http://tocsin", http: &http.Client{Transport: &http.Transport{DialContext: dial}}, where: path}, nil
}

// sessionToken is the token that login has left for a server.
func (c *cli) sessionToken(base string) (string, error) {
	all, err := c.sessions()
	if s, ok := all[base]; ok && time.Now().Before(s.ExpiresAt) {
		return s.Token, nil
	}
	return "", errors.Join(event.Invalidf("TOCSIN_URL is set and TOCSIN_TOKEN is not: sign in with tocsin login, or make a token with tocsin tokens create on the server's host"), err)
}

// problem is an error of the server (RFC 9457).
type problem struct {
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// requestTime is how long a request without a stream may take.
const requestTime = 2 * time.Minute

// open sends a request and returns the response of a success; the caller closes
// its body. Errors have the class that the status stands for.
func (k *client) open(ctx context.Context, method, path, media string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, k.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	return k.do(req, media)
}

// do is open for a request that is made already.
func (k *client) do(req *http.Request, media string) (*http.Response, error) {
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	if k.token != "" {
		req.Header.Set("Authorization", "Bearer "+k.token)
	}
	if k.sign != nil {
		if err := k.signBody(req); err != nil {
			return nil, err
		}
	}
	resp, err := k.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return nil, event.Unavailablef("no server answers at %s (%w); start one with tocsin serve, or set TOCSIN_URL and TOCSIN_TOKEN", k.where, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, refusalOf(resp)
}

// signBody reads the body of a request, and signs both.
func (k *client) signBody(req *http.Request) error {
	body := []byte{}
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return fmt.Errorf("request: %w", err)
		}
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	req.GetBody = nil // a signature is good once
	return k.sign(req, body)
}

func refusalOf(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var p problem
	if err != nil || json.Unmarshal(raw, &p) != nil || p.Detail == "" {
		p.Detail = resp.Status
	}
	switch resp.StatusCode {
	case http.StatusNotFound:
		return event.NotFoundf("%s", p.Detail)
	case http.StatusUnauthorized, http.StatusForbidden:
		return event.Deniedf("%s", p.Detail)
	case http.StatusConflict, http.StatusPreconditionFailed:
		return event.Conflictf("%s", p.Detail)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusInsufficientStorage, http.StatusBadGateway:
		return event.Unavailablef("%s", p.Detail)
	}
	if resp.StatusCode < 500 {
		return event.Invalidf("%s", p.Detail)
	}
	return errors.New(p.Detail)
}

// call sends a JSON request and decodes the JSON answer, where into is not nil.
func (k *client) call(ctx context.Context, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	var in io.Reader
	media := ""
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("request: %w", err)
		}
		in, media = bytes.NewReader(raw), "application/json"
	}
	resp, err := k.open(ctx, method, path, media, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("answer of the server: %w", err)
	}
	return nil
}

// sent is the answer to events.
type sent struct {
	Accepted   int `json:"accepted"`
	Duplicates int `json:"duplicates"`
	Rejected   int `json:"rejected"`
	Results    []struct {
		Index     int    `json:"index"`
		ID        string `json:"id"`
		Sequence  string `json:"sequence"`
		Duplicate bool   `json:"duplicate"`
		Error     string `json:"error"`
	} `json:"results"`
}

// send hands events to the server and returns when they are durable.
func (k *client) send(ctx context.Context, media string, body io.Reader) (sent, error) {
	var answer sent
	resp, err := k.open(ctx, http.MethodPost, "/v1/events", media, body)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return answer, fmt.Errorf("answer of the server: %w", err)
	}
	return answer, nil
}
