package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
)

// signatureOf is the content of an Authorization header that holds a signature.
// Only events may be sent so.
func signatureOf(r *http.Request) (string, bool) {
	scheme, rest, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return rest, ok && strings.EqualFold(scheme, identity.SignatureScheme) && r.URL.Path == "/v1/events" && r.Method == http.MethodPost
}

// bySignature finds who signed the request, and makes the body end with an error
// where it is not the signed one. The user's rights are cut down to emit. Lines
// are recorded as they come in, so that a signed body is read whole first.
func (s *Server) bySignature(r *http.Request, header string) (*identity.Principal, error) {
	hosts := []string{r.Host}
	if u, err := url.Parse(s.Base); err == nil && u.Host != r.Host {
		hosts = append(hosts, u.Host) // behind a proxy that names itself
	}
	what := identity.Signed{Method: r.Method, Target: r.URL.RequestURI(), Media: r.Header.Get("Content-Type")}
	for name, values := range r.Header {
		if name := strings.ToLower(name); strings.HasPrefix(name, "ce-") {
			what.Headers = append(what.Headers, name+": "+strings.Join(values, ", "))
		}
	}
	p, signed, err := s.Identity.BySignature(r.Context(), cause(r), header, what, hosts...)
	if err != nil {
		return nil, err
	}
	if !p.Can(identity.Emit) {
		p.Scopes = nil
	} else {
		p.Scopes = []identity.Scope{identity.Emit}
	}
	r.Body = &signedBody{ReadCloser: r.Body, hash: sha256.New(), want: signed.Digest}
	return p, nil
}

// signedBody fails at its end where it is not the body that was signed.
type signedBody struct {
	io.ReadCloser
	hash hash.Hash
	want [sha256.Size]byte
}

// Read implements io.Reader.
func (b *signedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.hash.Write(p[:n])
	if err == io.EOF && subtle.ConstantTimeCompare(b.hash.Sum(nil), b.want[:]) != 1 {
		return n, event.Deniedf("the body is not the one that was signed")
	}
	return n, err
}

// whole reads a signed body to its end before any of it is used; others are
// left as they are.
func whole(w http.ResponseWriter, r *http.Request, limit int64) error {
	if _, signed := r.Body.(*signedBody); !signed {
		return nil
	}
	body, err := readBody(w, r, limit)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	return nil
}
