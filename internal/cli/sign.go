package cli

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
)

// emitClient is the client of emit: one that signs, where a key is named.
func (c *cli) emitClient(key string) (*client, error) {
	if key == "" {
		return c.client()
	}
	return c.signingClient(key)
}

// signingClient is a client that signs each request with an SSH key instead of
// showing a token. key is a private key, or a public one whose other half an
// agent holds: ssh-keygen(1) does the signing, and knows them all.
func (c *cli) signingClient(key string) (*client, error) {
	base := strings.TrimRight(c.env("TOCSIN_URL"), "/")
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil, event.Invalidf("--sign-key needs TOCSIN_URL, a URL such as https://tocsin.example: through the socket of this host, the kernel says who you are")
	}
	sign := func(req *http.Request, body []byte) error {
		nonce := make([]byte, 16)
		_, _ = rand.Read(nonce) // never fails since Go 1.24
		what := identity.Signed{
			Method: req.Method, Host: req.URL.Host, Target: req.URL.RequestURI(), Media: req.Header.Get("Content-Type"),
			Digest: sha256.Sum256(body), Time: time.Now(), Nonce: hex.EncodeToString(nonce),
		}
		cmd := exec.CommandContext(req.Context(), "ssh-keygen", "-Y", "sign", "-q", "-n", identity.SignatureNamespace, "-f", key) //nolint:gosec // the caller names their own key
		var out, errOut bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = bytes.NewReader(what.Text()), &out, &errOut, c.environ
		if err := cmd.Run(); err != nil {
			return event.Invalidf("sign with %s: %w: %s", key, err, strings.TrimSpace(errOut.String()))
		}
		block, _ := pem.Decode(out.Bytes())
		if block == nil {
			return fmt.Errorf("sign with %s: ssh-keygen wrote no signature", key)
		}
		s := identity.Signature{Time: what.Time, Nonce: what.Nonce, Digest: what.Digest, Blob: block.Bytes}
		req.Header.Set("Authorization", s.Header())
		return nil
	}
	return &client{base: base, http: &http.Client{}, where: base, sign: sign}, nil
}
