package identity

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Requests to POST /v1/events may be signed by an SSH key instead of showing a
// token: Authorization: SSHSIG and what Signature.Header writes. What is signed
// is Signed.Text, by ssh-keygen -Y sign -n tocsin (OpenSSH, PROTOCOL.sshsig).
const (
	// SignatureScheme is the scheme of the Authorization header.
	SignatureScheme = "SSHSIG"
	// SignatureNamespace keeps signatures made for other ends from being taken.
	SignatureNamespace = "tocsin"
	// signatureWindow is how far the time of a signature may be off.
	signatureWindow = 5 * time.Minute
	// maxSignature is the longest header that is read, in bytes: that of an RSA
	// key of 16384 bits is shorter.
	maxSignature = 12 << 10
)

// Signed is what a signature covers: all that decides what a request does.
type Signed struct {
	Method, Host, Target string   // Target is the path with the query
	Media                string   // Content-Type
	Headers              []string // "name: value" of all ce- headers, in small letters
	Digest               [32]byte // SHA-256 of the body
	Time                 time.Time
	Nonce                string
}

// Text is what is signed: a line for each part.
func (s *Signed) Text() []byte {
	headers := slices.Sorted(slices.Values(s.Headers))
	lines := append([]string{
		"tocsin request v1", s.Method, s.Host, s.Target, s.Media, strconv.FormatInt(s.Time.Unix(), 10), s.Nonce, hex.EncodeToString(s.Digest[:]),
	}, headers...)
	return []byte(strings.Join(lines, "\n") + "\n")
}

// Signature is the content of the header.
type Signature struct {
	Time   time.Time
	Nonce  string
	Digest [32]byte // of the body, as the sender says
	Blob   []byte   // the signature, without its armour
}

// Header is the value of the Authorization header.
func (s *Signature) Header() string {
	return fmt.Sprintf("%s t=%d,nonce=%s,sha256=%x,sig=%s", SignatureScheme, s.Time.Unix(), s.Nonce, s.Digest, base64.StdEncoding.EncodeToString(s.Blob))
}

// ParseSignature reads the value behind the scheme. Errors are of class
// event.ErrDenied.
func ParseSignature(text string) (Signature, error) {
	var s Signature
	bad := event.Deniedf("the signature's header is malformed: it must be %s t=SECONDS,nonce=TEXT,sha256=HEX,sig=BASE64", SignatureScheme)
	if len(text) > maxSignature {
		return s, bad
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(part, "=")
		if !ok || seen[name] {
			return s, bad
		}
		seen[name] = true
		var err error
		switch name {
		case "t":
			var n int64
			n, err = strconv.ParseInt(value, 10, 64)
			if n < 0 || n > 1<<40 || strconv.FormatInt(n, 10) != value {
				return s, bad
			}
			s.Time = time.Unix(n, 0)
		case "nonce":
			if s.Nonce = value; !isNonce(value) {
				return s, bad
			}
		case "sha256":
			var raw []byte
			raw, err = hex.DecodeString(value)
			if copy(s.Digest[:], raw) != len(s.Digest) || len(raw) != len(s.Digest) || strings.ToLower(value) != value {
				return s, bad
			}
		case "sig":
			s.Blob, err = base64.StdEncoding.Strict().DecodeString(value)
		default:
			return s, bad
		}
		if err != nil {
			return s, bad
		}
	}
	if len(seen) != 4 {
		return s, bad
	}
	return s, nil
}

// isNonce wants 16 to 64 characters that need no quoting.
func isNonce(text string) bool {
	return len(text) >= 16 && len(text) <= 64 && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_'
	})
}

// BySignature finds the user who signed a request. hosts are the names under
// which the server may have been asked. The body must be checked against the
// signature's Digest by whoever reads it. What was taken once is never taken
// again: a replay is refused and recorded as a suspicious_request.
func (i *Identity) BySignature(ctx context.Context, by state.Cause, header string, what Signed, hosts ...string) (*Principal, Signature, error) {
	s, err := ParseSignature(header)
	if err != nil {
		return nil, s, err
	}
	if off := time.Since(s.Time).Abs(); off > signatureWindow {
		return nil, s, event.Deniedf("the signature is of %s: more than %s from this server's time", s.Time.UTC().Format(time.RFC3339), signatureWindow)
	}
	wrong := event.Deniedf("the signature is not valid, or of a key that nobody has here")
	sig, err := sshsig.ParseSignature(s.Blob)
	if err != nil || sig.Namespace != SignatureNamespace {
		return nil, s, wrong
	}
	fingerprint := ssh.FingerprintSHA256(sig.PublicKey)
	known, err := sshKeys.Find(ctx, i.state.Reader(), "fingerprint", fingerprint)
	if errors.Is(err, event.ErrNotFound) {
		return nil, s, wrong
	}
	if err != nil {
		return nil, s, err
	}
	key, _, err := parseKey(known.Value.PublicKey)
	if err != nil {
		return nil, s, err
	}
	what.Time, what.Nonce, what.Digest = s.Time, s.Nonce, s.Digest
	right := false
	for _, host := range hosts {
		what.Host = host
		right = right || sshsig.Verify(bytes.NewReader(what.Text()), sig, key, sig.HashAlgorithm, SignatureNamespace) == nil
	}
	if !right {
		return nil, s, wrong
	}
	id, err := state.ParseID(known.Value.User)
	if err != nil {
		return nil, s, err
	}
	u, err := users.Get(ctx, i.state.Reader(), id)
	if errors.Is(err, event.ErrNotFound) || err == nil && !u.Value.active() {
		return nil, s, wrong
	}
	if err != nil {
		return nil, s, err
	}
	if err := i.takeOnce(ctx, by, fingerprint, s.Nonce, u); err != nil {
		return nil, s, err
	}
	p, err := i.userPrincipal(ctx, u)
	if err != nil {
		return nil, s, err
	}
	p.Token = "SSH key " + known.Value.Name
	return p, s, nil
}

// takeOnce remembers a signature for as long as its time is near enough.
func (i *Identity) takeOnce(ctx context.Context, by state.Cause, fingerprint, nonce string, u state.Record[User]) error {
	fresh := false
	err := i.state.Write(ctx, by, func(tx *state.Tx) error {
		r, err := tx.ExecContext(ctx, `INSERT INTO signatures (hash, expires) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING`,
			sum(fingerprint, nonce), time.Now().Add(3*signatureWindow).UnixNano())
		if err != nil {
			return fmt.Errorf("signature: %w", err)
		}
		n, err := r.RowsAffected()
		fresh = n == 1
		return err
	})
	if err != nil || fresh {
		return err
	}
	i.suspicious(ctx, by, "a signed request was sent again: by a key of user "+u.Value.Username)
	return event.Deniedf("this signature was used: sign each request anew")
}
