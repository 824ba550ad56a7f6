package publish

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/agent"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// Peer is another Tocsin, to which this one speaks with a token, and over mutual
// TLS where it has a certificate.
type Peer struct {
	url       string
	tokenFile string
	http      *http.Client
}

// requestTime is how long a request may take: long enough for a slow link, short
// enough that one that has died is noticed.
const requestTime = 30 * time.Second

// OpenPeer reads the files that a configuration names. The certificate and the
// token are read anew when they are used: both are replaced while this runs.
func OpenPeer(c *config.Forward, version string) (*Peer, error) {
	p := &Peer{url: strings.TrimRight(c.URL, "/"), tokenFile: c.TokenFile}
	if _, err := p.token(); err != nil {
		return nil, err
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, event.Invalidf("forward.ca_file: %w", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, event.Invalidf("forward.ca_file: %s holds no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
			if err != nil {
				return nil, event.Invalidf("forward.cert_file: %w", err)
			}
			return &pair, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		secure.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	p.http = &http.Client{
		Transport: &agentHeader{version, &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second,
			ResponseHeaderTimeout: requestTime, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 2,
		}},
		// The token must not follow a redirect to somewhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       requestTime,
	}
	return p, nil
}

// agentHeader names the program in every request.
type agentHeader struct {
	version string
	next    http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (a *agentHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", "tocsin/"+a.version)
	return a.next.RoundTrip(r)
}

// Address is where the peer is.
func (p *Peer) Address() string { return p.url }

// maxToken is the size of a token's file.
const maxToken = 4096

func (p *Peer) token() (string, error) {
	text, err := os.ReadFile(p.tokenFile)
	if err != nil {
		return "", event.Invalidf("forward.token_file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || len(text) > maxToken || strings.ContainsAny(token, "\r\n \t") {
		return "", event.Invalidf("forward.token_file: %s must hold one token and nothing else", p.tokenFile)
	}
	return token, nil
}

// Refusal is an event of a request that the peer does not take.
type Refusal struct {
	Index  int // in what was sent
	Reason string
}

// Send hands events over. They are durable at the peer when the error is nil, but
// for those that it refuses for good. Where it names a time to wait, that is
// returned with the error; the events may be sent again.
func (p *Peer) Send(ctx context.Context, hits []segment.Hit) ([]Refusal, time.Duration, error) {
	body, err := batch(hits)
	if err != nil {
		return nil, 0, err
	}
	answer, wait, err := p.call(ctx, http.MethodPost, "/v1/events", event.BatchMedia, body)
	if err == nil && len(answer.Results) != len(hits) {
		err = fmt.Errorf("forward: %s is no Tocsin: it answers for %d events of %d", p.url, len(answer.Results), len(hits))
	}
	if err == nil {
		return answer.refusals(len(hits)), 0, nil
	}
	var status *statusError
	switch {
	case !errors.As(err, &status):
		return nil, wait, err
	case answer.covers(len(hits)): // nothing was taken, and for each it says why
		return answer.refusals(len(hits)), 0, nil
	case (status.code == http.StatusRequestEntityTooLarge || status.code == http.StatusBadRequest) && len(hits) > 1:
		return p.halves(ctx, hits)
	case status.code == http.StatusRequestEntityTooLarge || status.code == http.StatusBadRequest:
		return []Refusal{{0, status.Error()}}, 0, nil
	}
	return nil, wait, err
}

// halves sends a batch that is not taken as a whole in two parts. If the second
// fails, both are sent again: the peer knows what it has.
func (p *Peer) halves(ctx context.Context, hits []segment.Hit) ([]Refusal, time.Duration, error) {
	middle := len(hits) / 2
	first, wait, err := p.Send(ctx, hits[:middle])
	if err != nil {
		return nil, wait, err
	}
	second, wait, err := p.Send(ctx, hits[middle:])
	if err != nil {
		return nil, wait, err
	}
	for _, r := range second {
		first = append(first, Refusal{r.Index + middle, r.Reason})
	}
	return first, 0, nil
}

// batch is the JSON Batch Format of events as they are stored here, without what
// the other journal says for itself.
func batch(hits []segment.Hit) ([]byte, error) {
	body := []byte{'['}
	for i := range hits {
		e, err := event.DecodeStored(hits[i].Body)
		if err != nil {
			return nil, fmt.Errorf("forward event %d: %w", hits[i].Seq, err)
		}
		e.Sequence, e.RecordedTime, e.RecordedBy = 0, time.Time{}, ""
		if i > 0 {
			body = append(body, ',')
		}
		body = e.AppendJSON(body)
	}
	return append(body, ']'), nil
}

// Report says how this agent fares.
func (p *Peer) Report(ctx context.Context, id string, r agent.Report) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	_, _, err = p.call(ctx, http.MethodPut, "/v1/agents/"+url.PathEscape(id), "application/json", body)
	return err
}

// answer is what a peer says of a batch.
type answer struct {
	Results []struct {
		Index int    `json:"index"`
		Error string `json:"error"`
	} `json:"results"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func (a *answer) refusals(sent int) []Refusal {
	var all []Refusal
	for _, r := range a.Results {
		if r.Error != "" && r.Index >= 0 && r.Index < sent {
			all = append(all, Refusal{r.Index, r.Error})
		}
	}
	return all
}

// covers tells whether each of a number of events was refused for itself.
func (a *answer) covers(sent int) bool { return len(a.refusals(sent)) == sent }

// statusError is an answer other than 2xx.
type statusError struct {
	code   int
	detail string
	class  error
}

func (s *statusError) Error() string {
	return strings.TrimSuffix("the server answers "+strconv.Itoa(s.code)+" "+http.StatusText(s.code)+": "+s.detail, ": ")
}

func (s *statusError) Unwrap() error { return s.class }

// maxAnswer is how much of an answer is read.
const maxAnswer = 4 << 20

// call sends one request.
func (p *Peer) call(ctx context.Context, method, path, media string, body []byte) (*answer, time.Duration, error) {
	token, err := p.token()
	if err != nil {
		return nil, 0, err
	}
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, fmt.Errorf("forward: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", media)
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("forward: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, 0, fmt.Errorf("forward: read the answer: %w", err)
	}
	a := &answer{}
	wrong := json.Unmarshal(text, a)
	if resp.StatusCode/100 == 2 {
		if wrong != nil && len(text) > 0 {
			return nil, 0, fmt.Errorf("forward: %s is no Tocsin: its answer can't be read", p.url)
		}
		return a, 0, nil
	}
	s := &statusError{code: resp.StatusCode, detail: a.Detail}
	if s.detail == "" {
		s.detail = a.Title
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		s.class = event.ErrDenied
	default:
		s.class = event.ErrUnavailable
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return a, min(time.Duration(max(seconds, 0))*time.Second, lastPause), s
}
