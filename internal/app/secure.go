package app

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// certificates let the server speak TLS with the files of the configuration, which
// are read anew when they have changed: certificates are renewed while it runs.
// A nil one is a server without TLS.
type certificates struct {
	files config.TLS

	mu      sync.Mutex // guards all below
	pair    *tls.Certificate
	clients *x509.CertPool
	stamp   [3]time.Time // of the three files
	looked  time.Time
}

// lookEvery is how often the files' times are looked at, at most.
const lookEvery = 10 * time.Second

// openCertificates reads the files; nil where the configuration names none.
func openCertificates(c *config.TLS) (*certificates, error) {
	if c.CertFile == "" {
		return nil, nil //nolint:nilnil // a server without TLS
	}
	s := &certificates{files: *c}
	s.stamp = s.stamps()
	var err error
	s.pair, s.clients, err = read(c)
	s.looked = time.Now()
	return s, err
}

// CheckTLS finds mistakes in the files that the configuration names for TLS, for
// tocsin check.
func CheckTLS(c *config.TLS) error {
	_, err := openCertificates(c)
	return err
}

func read(c *config.TLS) (*tls.Certificate, *x509.CertPool, error) {
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, nil, event.Invalidf("tls.cert_file and tls.key_file: %w", err)
	}
	if c.ClientCAFile == "" {
		return &pair, nil, nil
	}
	pem, err := os.ReadFile(c.ClientCAFile)
	if err != nil {
		return nil, nil, event.Invalidf("tls.client_ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, event.Invalidf("tls.client_ca_file: %s holds no certificate in PEM", c.ClientCAFile)
	}
	return &pair, pool, nil
}

// check reports whether the files could be used, for a reload.
func (s *certificates) check(c *config.TLS) error {
	if s == nil {
		return nil
	}
	_, _, err := read(c)
	if err == nil {
		s.mu.Lock()
		s.looked, s.stamp = time.Time{}, [3]time.Time{} // read them now
		s.mu.Unlock()
	}
	return err
}

// mutual reports whether agents have to show a certificate.
func (s *certificates) mutual() bool { return s != nil && s.files.ClientCAFile != "" }

// listen wraps a listener.
func (s *certificates) listen(l net.Listener) net.Listener {
	if s == nil {
		return l
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.config(), nil },
	})
}

// config is what a new connection is answered with. Files that can't be read at
// the moment, such as in the middle of a renewal, leave it as it was.
func (s *certificates) config() *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.looked).Abs() > lookEvery {
		s.looked = now
		if stamp := s.stamps(); stamp != s.stamp {
			if pair, clients, err := read(&s.files); err == nil {
				s.pair, s.clients, s.stamp = pair, clients, stamp
			}
		}
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*s.pair}, NextProtos: []string{"h2", "http/1.1"}}
	if s.clients != nil {
		// Browsers go on without; of what agents may do, the server takes care.
		c.ClientCAs, c.ClientAuth = s.clients, tls.VerifyClientCertIfGiven
	}
	return c
}

func (s *certificates) stamps() (stamp [3]time.Time) {
	for i, name := range []string{s.files.CertFile, s.files.KeyFile, s.files.ClientCAFile} {
		if info, err := os.Stat(name); err == nil {
			stamp[i] = info.ModTime()
		}
	}
	return stamp
}
