package source

import (
	"encoding/hex"
	"strconv"
	"time"

	"github.com/tocsin-events/tocsin/internal/alert"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: the webhook contact point of Grafana Alerting. Signature:
// X-Grafana-Alerting-Signature, the HMAC-SHA256 of the body in hexadecimal; where a
// timestamp header is set, of the time, a colon and the body, and what was sent
// once is not taken again. Where Grafana is not set to sign, it can send the
// secret as Bearer token or password: auth: bearer.
// Makes: alert and alert_resolved, once for each organisation, fingerprint, start
// and status.
// Leaves out: title, message and state of the group, which say the same again.
// Reference: grafana.com/docs, "Configure webhook notifications".
func init() {
	registerPush("grafana", "Alerts of Grafana, by its webhook.", grafanaOptions{Enabled: true, Auth: "hmac", Header: grafanaHeader}, newGrafana)
}

// grafanaHeader is what the documentation names; without one set, some versions
// send grafanaOldHeader.
const (
	grafanaHeader    = "X-Grafana-Alerting-Signature"
	grafanaOldHeader = "X-Grafana-Alert-Signature"
)

type grafanaOptions struct {
	Enabled         bool   `yaml:"enabled" doc:"Whether alerts are taken."`
	SecretFile      string `yaml:"secret_file" doc:"File with the secret; several lines for several secrets."`
	SecretEnv       string `yaml:"secret_env" doc:"Environment variable with the secret, in place of a file."`
	Auth            string `yaml:"auth" doc:"How the secret is used: hmac for a signature, bearer for the Authorization header."`
	Header          string `yaml:"header" doc:"Header with the signature."`
	TimestampHeader string `yaml:"timestamp_header" doc:"Header with the time that is signed, as set in Grafana; empty for none."`
}

type grafana struct {
	grafanaOptions
	secrets [][]byte
}

func newGrafana(o grafanaOptions) (Push, error) {
	if o.Auth != "hmac" && o.Auth != "bearer" {
		return nil, event.Invalidf("auth: %q is unknown: use hmac or bearer", o.Auth)
	}
	if err := checkHeader("header", o.Header); err != nil {
		return nil, err
	}
	if o.TimestampHeader != "" {
		if err := checkHeader("timestamp_header", o.TimestampHeader); err != nil {
			return nil, err
		}
	}
	secrets, err := loadSecrets(o.SecretFile, o.SecretEnv)
	return &grafana{o, secrets}, err
}

// Terms implements Push.
func (g *grafana) Terms() Terms { return Terms{Signed: g.secrets != nil, Many: true} }

// Verify implements Push.
func (g *grafana) Verify(r *Request) error {
	if g.Auth == "bearer" {
		return bearing(g.secrets, r, "Authorization")
	}
	text := r.Header.Get(g.Header)
	if text == "" && g.Header == grafanaHeader {
		text = r.Header.Get(grafanaOldHeader)
	}
	if text == "" {
		return &RefusedError{Missing: true, Why: "the header " + g.Header + " is missing: give the contact point its HMAC secret"}
	}
	signed := [][]byte{r.Body}
	var at string
	if g.TimestampHeader != "" {
		if at = r.Header.Get(g.TimestampHeader); at == "" {
			return &RefusedError{Missing: true, Why: "the header " + g.TimestampHeader + " is missing: set it in the contact point, too"}
		}
		signed = [][]byte{[]byte(at), {':'}, r.Body}
	}
	signature, err := hex.DecodeString(text)
	if err != nil || !signedWith(g.secrets, signature, signed...) {
		return &RefusedError{Why: "the signature in " + g.Header + " is wrong"}
	}
	if at == "" {
		return nil
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return &RefusedError{Why: "the header " + g.TimestampHeader + " holds no time"}
	}
	r.Nonce = at + " " + hex.EncodeToString(signature)
	return timely(time.Unix(seconds, 0), r.Received)
}

// Decode implements Push.
func (g *grafana) Decode(r *Request) ([]event.Event, error) {
	w, err := alert.DecodeWebhook(r.Body, "1")
	if err != nil {
		return nil, err
	}
	return w.Events("", "grafana", strconv.FormatInt(w.OrgID, 10)+"-")
}
