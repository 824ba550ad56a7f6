package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// lapiClient asks CrowdSec's local API. It is not the guarded way out: where a
// component of this host listens is the operator's own choice, and usually the
// loopback. It follows no redirect and asks no proxy, so that the key goes nowhere
// else.
type lapiClient struct {
	http      *http.Client
	base      string
	file, env string
	community bool
}

const (
	maxLAPIAnswer = 64 << 20 // bytes; it is read as a stream and not kept
	maxLAPIKey    = 4 << 10
)

func newLAPIClient(o crowdsecOptions) (*lapiClient, error) {
	transport := &http.Transport{MaxIdleConns: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10}
	l := &lapiClient{base: strings.TrimSuffix(o.URL, "/"), file: o.KeyFile, env: o.KeyEnv, community: o.Community}
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, event.Invalidf("url: not an address such as http://127.0.0.1:8080")
	case u.Scheme == "unix" && strings.HasPrefix(u.Path, "/") && u.Host == "":
		l.base = "http://crowdsec"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", u.Path)
		}
	case (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return nil, event.Invalidf("url: %q is neither http://, https:// nor unix://", o.URL)
	}
	if o.CAFile != "" {
		pem, err := readSmall(o.CAFile, maxSecrets)
		if err != nil {
			return nil, event.Invalidf("ca_file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, event.Invalidf("ca_file: %s holds no certificate", o.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	l.http = &http.Client{
		Transport: transport, Timeout: time.Duration(o.Timeout),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return l, nil
}

func (l *lapiClient) close() { l.http.CloseIdleConnections() }

// lapiKeyError says that there is no key, or a wrong one.
type lapiKeyError struct{ why string }

func (k *lapiKeyError) Error() string { return k.why }

// key is read at each question: it may be given, or changed, later.
func (l *lapiClient) key() (string, error) {
	var key string
	switch {
	case l.file != "":
		content, err := readSmall(l.file, maxLAPIKey)
		if err != nil {
			return "", &lapiKeyError{"key_file can't be read: " + err.Error()}
		}
		key = strings.TrimSpace(string(content))
	case l.env != "":
		key = strings.TrimSpace(os.Getenv(l.env))
	}
	if key == "" {
		return "", &lapiKeyError{"there is no API key"}
	}
	if plainText(key, maxLAPIKey) != key {
		return "", &lapiKeyError{"the API key is more than one line"}
	}
	return key, nil
}

// arrivals are new decisions: some of them, and how many more there are.
type arrivals struct {
	decisions []decision
	more      int
}

// decisions are those since the last question; of all, where start is set. An
// error is a *lapiKeyError, or says what is wrong with the answer.
func (l *lapiClient) decisions(ctx context.Context, version string, start bool) (arrivals, error) {
	key, err := l.key()
	if err != nil {
		return arrivals{}, err
	}
	target := l.base + "/v1/decisions/stream"
	if start {
		target += "?startup=true"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return arrivals{}, fmt.Errorf("request: %w", err)
	}
	req.Header.Set("X-Api-Key", key)
	req.Header.Set("User-Agent", "tocsin/"+version)
	resp, err := l.http.Do(req)
	if err != nil {
		return arrivals{}, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return arrivals{}, &lapiKeyError{"the local API refuses the key"}
	default:
		return arrivals{}, fmt.Errorf("the local API answers %d", resp.StatusCode)
	}
	a, err := l.read(json.NewDecoder(io.LimitReader(resp.Body, maxLAPIAnswer)))
	if err != nil {
		return arrivals{}, fmt.Errorf("the answer is not CrowdSec's: %w", err)
	}
	return a, nil
}

// read reads an answer without keeping it: it may hold a hundred thousand
// decisions of the community's lists.
func (l *lapiClient) read(d *json.Decoder) (a arrivals, err error) {
	if err := want(d, json.Delim('{')); err != nil {
		return a, err
	}
	known := false
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return a, err
		}
		switch name {
		case "new":
			known = true
			err = eachDecision(d, func(one *lapiDecision) { l.add(&a, one) })
		case "deleted":
			known = true
			err = eachDecision(d, func(*lapiDecision) {})
		default:
			var other any
			err = d.Decode(&other)
		}
		if err != nil {
			return a, err
		}
	}
	if !known {
		return a, errors.New("neither new nor deleted decisions are in it")
	}
	return a, want(d, json.Delim('}'))
}

// lapiDecision is a decision as the API gives it.
type lapiDecision struct {
	ID        int64  `json:"id"`
	Origin    string `json:"origin"`
	Scenario  string `json:"scenario"`
	Value     string `json:"value"`
	Simulated bool   `json:"simulated"`
}

// add keeps a decision, or counts it.
func (l *lapiClient) add(a *arrivals, d *lapiDecision) {
	origin := strings.ToLower(d.Origin)
	listed := origin == "capi" || strings.HasPrefix(origin, "lists")
	switch {
	case d.Simulated || listed && !l.community:
	case len(a.decisions) == mostDecisions:
		a.more++
	default:
		a.decisions = append(a.decisions, decision{ID: d.ID, Scenario: plainText(d.Scenario, 200), Value: plainText(d.Value, 100)})
	}
}

// eachDecision gives the elements of a list, which may be null, one by one.
func eachDecision(d *json.Decoder, give func(*lapiDecision)) error {
	t, err := d.Token()
	if err != nil || t == nil {
		return err
	}
	if t != json.Delim('[') {
		return errors.New("the decisions are no list")
	}
	for d.More() {
		var one lapiDecision
		if err := d.Decode(&one); err != nil {
			return err
		}
		give(&one)
	}
	return want(d, json.Delim(']'))
}

func want(d *json.Decoder, delim json.Delim) error {
	t, err := d.Token()
	if err == nil && t != delim {
		err = fmt.Errorf("%v in place of %v", t, delim)
	}
	return err
}
