package source

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// What the sources to which others send prove by: secrets, signatures made with
// them, and that a signature was not used before.

// maxSecrets is the largest file of secrets, in bytes.
const maxSecrets = 64 << 10

// loadSecrets reads the secrets that are shared with a sender, one a line, from a
// file or an environment variable: any of them is good, so that they can be
// changed one after the other. There are none where neither is named.
func loadSecrets(file, variable string) ([][]byte, error) {
	var content []byte
	var from string
	switch {
	case file == "" && variable == "":
		return nil, nil
	case file != "" && variable != "":
		return nil, event.Invalidf("secret_file and secret_env: give one of them")
	case file != "":
		var err error
		if content, err = readSmall(file, maxSecrets); err != nil {
			return nil, event.Invalidf("secret_file: %w", err)
		}
		from = "secret_file: " + file
	default:
		from = "secret_env: the environment variable " + variable
		content = []byte(os.Getenv(variable))
	}
	var all [][]byte
	for line := range bytes.Lines(content) {
		if secret := bytes.TrimSpace(line); len(secret) > 0 {
			all = append(all, secret)
		}
	}
	if len(all) == 0 {
		return nil, event.Invalidf("%s holds no secret", from)
	}
	return all, nil
}

// signedWith reports whether a signature is the HMAC-SHA256 (RFC 2104) of the
// parts, made with any of the keys. How long it takes says nothing about which.
func signedWith(keys [][]byte, signature []byte, parts ...[]byte) bool {
	good := 0
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		for _, p := range parts {
			_, _ = mac.Write(p)
		}
		good |= subtle.ConstantTimeCompare(mac.Sum(nil), signature)
	}
	return good == 1
}

// bearing makes sure that a request carries one of the secrets itself: in the
// Authorization header as a Bearer token or the password of basic
// authentication, or as the whole of a header of another name.
func bearing(secrets [][]byte, r *Request, header string) error {
	value := r.Header.Get(header)
	if value == "" {
		return &RefusedError{Missing: true, Why: "the header " + header + " is missing: it must carry the secret"}
	}
	if http.CanonicalHeaderKey(header) == "Authorization" {
		value = credential(value)
	}
	given := sha256.Sum256([]byte(value))
	good := 0
	for _, secret := range secrets {
		want := sha256.Sum256(secret) // of one length, so that none shows
		good |= subtle.ConstantTimeCompare(given[:], want[:])
	}
	if good != 1 {
		return &RefusedError{Why: "the secret in the header " + header + " is wrong"}
	}
	return nil
}

// credential is what an Authorization header carries (RFC 6750, RFC 7617).
func credential(value string) string {
	scheme, rest, _ := strings.Cut(value, " ")
	rest = strings.TrimSpace(rest)
	if !strings.EqualFold(scheme, "Basic") {
		return rest
	}
	pair, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return ""
	}
	_, password, _ := strings.Cut(string(pair), ":")
	return password
}

// tolerance is how far the time in a signature may be from ours (Standard
// Webhooks, "Verifying webhook authenticity").
const tolerance = 5 * time.Minute

// timely refuses a signature whose time is too far from ours.
func timely(signed, now time.Time) error {
	if now.Sub(signed).Abs() > tolerance {
		return &RefusedError{Why: "the time of the signature is more than " + tolerance.String() + " from this server's"}
	}
	return nil
}

// replays remembers what was signed for as long as its time is near enough. It
// outlives no restart; what is sent again behind one has the id of an event that
// the journal knows.
type replays struct {
	mu    sync.Mutex // guards until and order
	until map[string]time.Time
	order []string
}

// maxReplays bounds the memory: beyond it, the oldest are forgotten.
const maxReplays = 100_000

// claim takes a nonce; false where it is taken.
func (s *replays) claim(nonce string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until == nil {
		s.until = map[string]time.Time{}
	}
	for len(s.order) > 0 && (len(s.order) >= maxReplays || !now.Before(s.until[s.order[0]])) {
		delete(s.until, s.order[0])
		s.order = s.order[1:]
	}
	if _, taken := s.until[nonce]; taken {
		return false
	}
	s.until[nonce] = now.Add(2 * tolerance) // it may be of a clock that is ahead
	s.order = append(s.order, nonce)
	return true
}

// release gives a nonce back: nothing came of it.
func (s *replays) release(nonce string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.until, nonce)
}
