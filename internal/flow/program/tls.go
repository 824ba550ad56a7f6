package program

import (
	"crypto/tls"
	"crypto/x509"
)

// A TLS is how a request's connection is secured, each in PEM form; empty for what
// the system has.
type TLS struct {
	CA          string // authorities that vouch for the server
	Certificate string // that is shown to the server
	Key         string // of it
	ServerName  string // that the server's certificate must have
}

// Config makes a configuration of it.
func (t *TLS) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, Failure(TypeConfiguration, 400, "tls.ca holds no certificate in PEM form")
		}
	}
	if t.Certificate != "" || t.Key != "" {
		pair, err := tls.X509KeyPair([]byte(t.Certificate), []byte(t.Key))
		if err != nil {
			return nil, Failure(TypeConfiguration, 400, "tls.certificate and tls.key are no pair in PEM form")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// secured is a TLS as the document says it. The language has no word for it: it
// stands in the task's metadata, which other runtimes pass over.
type secured struct{ ca, certificate, key, name *template }

// tls compiles metadata.tocsin.tls of a call; nil where there is none.
func (c *compiler) tls(n *node) *secured {
	t := n.field("metadata").field("tocsin").field("tls")
	if t == nil || !c.object(t, "tls", "ca", "certificate", "key", "server_name") {
		return nil
	}
	part := func(name string) *template {
		if t.field(name) == nil {
			return nil
		}
		return c.template(t.field(name))
	}
	if (t.field("certificate") == nil) != (t.field("key") == nil) {
		c.fail(t, "write certificate: and key:, both in PEM form", "certificate and key go together")
	}
	return &secured{part("ca"), part("certificate"), part("key"), part("server_name")}
}

func (s *secured) resolve(x *exec, input any) (*TLS, error) {
	if s == nil {
		return nil, nil
	}
	t := &TLS{}
	for _, part := range []struct {
		from *template
		to   *string
	}{{s.ca, &t.CA}, {s.certificate, &t.Certificate}, {s.key, &t.Key}, {s.name, &t.ServerName}} {
		if part.from == nil {
			continue
		}
		v, err := x.template(part.from, input)
		if err != nil {
			return nil, err
		}
		*part.to = textOf(v)
	}
	return t, nil
}
