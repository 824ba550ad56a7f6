package source

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: the file is read at every interval, and when it begins or ends to be
// valid.
// Makes: license.valid and license.invalid (seed 001), when the status changes;
// the reason is in msg. A restart tells nothing anew.
// Leaves out: any consequence. Tocsin runs without a licence.
func init() {
	register("license", "A licence file, signed by Ed25519: the key license of the configuration.", licenseOptions{
		Interval: config.Duration(10 * time.Second),
	}, newLicense)
}

type licenseOptions struct {
	Enabled   bool            `yaml:"enabled" doc:"Whether the file is watched; so it is when license.file is set."`
	File      string          `yaml:"file" doc:"The licence."`
	PublicKey string          `yaml:"public_key" doc:"Ed25519 key of who signs licences: 32 bytes in base64."`
	Interval  config.Duration `yaml:"interval" doc:"How often the file is read; at least 1s."`
}

// maxLicense is the largest licence file, in bytes.
const maxLicense = 64 << 10

type license struct {
	licenseOptions
	key ed25519.PublicKey
	now func() time.Time
}

func newLicense(o licenseOptions) (Source, error) {
	if o.File == "" {
		return nil, event.Invalidf("file is missing: name the licence")
	}
	if time.Duration(o.Interval) < time.Second {
		return nil, event.Invalidf("interval: %s is shorter than 1s", o.Interval)
	}
	key, err := config.PublicKey(o.PublicKey)
	if err != nil {
		return nil, event.Invalidf("public_key: %w", err)
	}
	return &license{licenseOptions: o, key: key, now: time.Now}, nil
}

// Run implements Source.
func (l *license) Run(ctx context.Context, env *Env) error {
	for {
		until, err := l.look(ctx, env)
		if err != nil && ctx.Err() == nil {
			return err
		}
		wait := time.NewTimer(min(until, time.Duration(l.Interval)))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil
		}
	}
}

// look reads the licence, tells of a change, and says after which time its status
// changes by itself.
func (l *license) look(ctx context.Context, env *Env) (until time.Duration, err error) {
	until, reason := l.judge(env.Host)
	status, t, severity := "valid", event.Type("license.valid"), event.Notice
	if reason != nil {
		status, t, severity = "invalid", "license.invalid", event.Error
		env.Status(Running, reason.Error())
	} else {
		env.Status(Running, "")
	}
	before, err := env.Memory.Load(ctx, "status")
	if err != nil || before == status {
		return until, err
	}
	msg := "the licence is valid"
	if reason != nil {
		msg = reason.Error()
	}
	data, err := json.Marshal(map[string]string{"msg": msg})
	if err != nil {
		return until, err
	}
	if err := env.Emit(ctx, newEvent(env, "license", t, severity, "license", data)); err != nil {
		return until, err
	}
	return until, env.Memory.Store(ctx, "status", status)
}

// terms are what a licence says: its first line, as JSON.
type terms struct {
	Subject   string    `json:"subject"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Hosts     []string  `json:"hosts"` // where it is good for; empty for everywhere
}

// judge says why the licence is not valid, and when that may change.
func (l *license) judge(host string) (until time.Duration, reason error) {
	const far = 24 * time.Hour
	content, err := readSmall(l.File, maxLicense)
	if err != nil {
		return far, err
	}
	payload, signature, found := bytes.Cut(bytes.TrimRight(content, "\r\n "), []byte("\n"))
	signed, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(signature)), ""))
	if !found || err != nil || len(signed) != ed25519.SignatureSize {
		return far, errors.New("the licence has another form than a line of JSON and a signature in base64")
	}
	if !ed25519.Verify(l.key, bytes.TrimRight(payload, "\r"), signed) {
		return far, errors.New("the signature of the licence is wrong")
	}
	var t terms
	if err := json.Unmarshal(payload, &t); err != nil {
		return far, fmt.Errorf("the licence can't be read: %w", err)
	}
	now := l.now()
	switch {
	case now.Before(t.NotBefore):
		return t.NotBefore.Sub(now), fmt.Errorf("the licence begins at %s", t.NotBefore.UTC().Format(time.RFC3339))
	case !t.NotAfter.IsZero() && !now.Before(t.NotAfter):
		return far, fmt.Errorf("the licence ended at %s", t.NotAfter.UTC().Format(time.RFC3339))
	case len(t.Hosts) > 0 && !slices.Contains(t.Hosts, host):
		return far, fmt.Errorf("the licence is for other hosts than %s", host)
	case t.NotAfter.IsZero():
		return far, nil
	default:
		return t.NotAfter.Sub(now), nil
	}
}

// readSmall reads a file that must not be large.
func readSmall(path string, limit int64) (content []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	content, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return content, err
}
