package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: the folders are read, and the endpoints asked, at their intervals.
// Makes: domain_expiry, for each certificate in a file and for each that an
// endpoint serves, once at 14, 7, 3 and 1 days before its end, and once when it
// has expired.
// Leaves out: intermediate authorities, bundles of roots, and a certificate
// whose successor lies beside it for the same names.
func init() {
	register("domain_expiry", "Certificates that expire soon: in files of this host, and at TLS endpoints.", certificateOptions{
		Enabled: true, Interval: config.Duration(10 * time.Minute), EndpointInterval: config.Duration(time.Hour), Days: []int{14, 7, 3, 1},
		Paths: []string{
			"/etc/letsencrypt/live", "/etc/lego/certificates", "/root/.lego/certificates",
			"/var/lib/caddy/.local/share/caddy/certificates", "/etc/nginx/ssl", "/etc/apache2/ssl", "/etc/haproxy/certs", "/etc/ssl/private",
		},
	}, newCertificate)
}

type certificateOptions struct {
	Enabled  bool            `yaml:"enabled" doc:"Whether certificates are watched."`
	Interval config.Duration `yaml:"interval" doc:"How often the folders are read; at least 1s."`
	Days     []int           `yaml:"days" doc:"Days before the end at which one is told."`
	Paths    []string        `yaml:"paths" doc:"Files, and folders that are read with all below them."`

	Endpoints        []string        `yaml:"endpoints" doc:"Where certificates are served: host:port, name@address:port for another server name (SNI), or smtp://host, imap://host, pop3://host for STARTTLS."`
	EndpointInterval config.Duration `yaml:"endpoint_interval" doc:"How often the endpoints are asked; at least 1s."`
}

type certificate struct {
	certificateOptions
	endpoints []endpoint
}

func newCertificate(o certificateOptions) (Source, error) {
	if time.Duration(o.Interval) < time.Second {
		return nil, event.Invalidf("interval: %s is shorter than 1s", o.Interval)
	}
	if len(o.Endpoints) > 0 && time.Duration(o.EndpointInterval) < time.Second {
		return nil, event.Invalidf("endpoint_interval: %s is shorter than 1s", o.EndpointInterval)
	}
	c := &certificate{certificateOptions: o}
	for _, text := range o.Endpoints {
		e, err := parseEndpoint(text)
		if err != nil {
			return nil, err
		}
		c.endpoints = append(c.endpoints, e)
	}
	for _, d := range o.Days {
		if d < 1 || d > 3650 {
			return nil, event.Invalidf("days: %d is out of range: 1 to 3650", d)
		}
	}
	c.Days = slices.Clone(o.Days)
	slices.Sort(c.Days)
	return c, nil
}

// Run implements Source.
func (c *certificate) Run(ctx context.Context, env *Env) error {
	files := func(ctx context.Context) error {
		return every(ctx, time.Duration(c.Interval), func(ctx context.Context, now time.Time) error { return c.look(ctx, env, now) })
	}
	if len(c.endpoints) == 0 {
		return files(ctx)
	}
	return inParallel(ctx, files, func(ctx context.Context) error {
		return every(ctx, time.Duration(c.EndpointInterval), func(ctx context.Context, now time.Time) error { return c.askAll(ctx, env, now) })
	})
}

// found is a certificate, and where it lies or is served.
type found struct {
	cert     *x509.Certificate
	path     string
	endpoint string
	distrust error // why clients would refuse it
}

func (c *certificate) look(ctx context.Context, env *Env, now time.Time) error {
	newest := map[string]found{} // by its names: a renewed certificate replaces the old one
	denied := ""
	for _, root := range c.Paths {
		err := collect(root, func(f found) {
			// Of one path alone: a copy elsewhere that nobody renewed is what is to be told.
			key := root + "\x00" + names(f.cert)
			if old, ok := newest[key]; !ok || f.cert.NotAfter.After(old.cert.NotAfter) {
				newest[key] = f
			}
		})
		if errors.Is(err, fs.ErrPermission) {
			denied = root
		}
	}
	switch {
	case len(newest) == 0 && denied != "":
		env.Status(Unavailable, "no permission to read "+denied+": give the server's user read access, for example by a group")
	case len(newest) == 0 && len(c.endpoints) == 0:
		env.Status(Idle, "no certificates found: name files or folders in sources.domain_expiry.paths, or endpoints")
	default:
		env.Status(Running, "")
	}
	for _, f := range newest {
		if err := c.judge(ctx, env, f, now); err != nil {
			return err
		}
	}
	return nil
}

// judge tells of a certificate if it has come into a narrower warning time than
// it was told of before.
func (c *certificate) judge(ctx context.Context, env *Env, f found, now time.Time) error {
	left := f.cert.NotAfter.Sub(now)
	days := int(left / (24 * time.Hour))
	if left < 0 {
		days = -int((-left + 24*time.Hour - 1) / (24 * time.Hour))
	}
	stage := c.stage(left)
	if stage < 0 {
		return nil
	}
	sum := sha256.Sum256(f.cert.Raw)
	key := hex.EncodeToString(sum[:8])
	if f.endpoint != "" { // beside the file: another place, where something else is to be done
		key += " " + f.endpoint
	}
	told, err := env.Memory.Load(ctx, key)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(told); err == nil && n <= stage {
		return nil
	}
	data, err := json.Marshal(f.data(days, left < 0))
	if err != nil {
		return err
	}
	severity := event.Warn
	if left < 3*24*time.Hour {
		severity = event.Error
	}
	if err := env.Emit(ctx, newEvent(env, "certificate", "domain_expiry", severity, "certificate/"+domain(f.cert), data)); err != nil {
		return err
	}
	return env.Memory.Store(ctx, key, strconv.Itoa(stage))
}

func (f *found) data(days int, expired bool) map[string]any {
	data := map[string]any{
		"domain": domain(f.cert), "not_after": f.cert.NotAfter.UTC().Format(time.RFC3339), "days_left": days,
		"expired": expired, "issuer": f.cert.Issuer.String(),
	}
	if f.path != "" {
		data["path"] = f.path
	}
	if f.endpoint != "" {
		data["endpoint"], data["trusted"] = f.endpoint, f.distrust == nil
	}
	if f.distrust != nil {
		data["problem"] = f.distrust.Error()
	}
	return data
}

// stage is the narrowest warning time that holds: 0 for expired, else its days;
// -1 while there is nothing to tell.
func (c *certificate) stage(left time.Duration) int {
	if left < 0 {
		return 0
	}
	for _, d := range c.Days { // ascending
		if left <= time.Duration(d)*24*time.Hour {
			return d
		}
	}
	return -1
}

// maxCertificate is the largest file that is looked into, in bytes.
const maxCertificate = 1 << 20

// collect gives the leaf certificate of every PEM or DER file at or below root.
// What can't be read is passed over; a missing permission is returned.
func collect(root string, give func(found)) error {
	var denied error
	if info, err := os.Stat(root); err == nil && info.IsDir() {
		root += string(filepath.Separator) // a link to a folder is one
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrPermission) {
				denied = err
			}
			return nil // a folder that vanished or is closed to us ends nothing
		}
		if d.IsDir() || !looksLikeCertificate(path) {
			return nil
		}
		cert, err := leaf(path)
		if errors.Is(err, fs.ErrPermission) {
			denied = err
		}
		if cert != nil {
			give(found{cert: cert, path: path})
		}
		return nil
	})
	return errors.Join(err, denied)
}

func looksLikeCertificate(path string) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".pem", ".crt", ".cer", ".cert", ".der":
		return !strings.Contains(filepath.Base(path), "privkey")
	}
	return false
}

// leaf is the certificate in a file that a server would show: the first that is
// no authority, or one that stands alone and has signed itself. nil where there
// is none.
func leaf(path string) (*x509.Certificate, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxCertificate {
		return nil, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	all := certificates(content)
	for _, cert := range all {
		if !cert.IsCA {
			return cert, nil
		}
	}
	if len(all) == 1 && bytes.Equal(all[0].RawIssuer, all[0].RawSubject) {
		return all[0], nil
	}
	return nil, nil
}

// certificates reads PEM, or else DER. What is no certificate is passed over.
func certificates(content []byte) []*x509.Certificate {
	var all []*x509.Certificate
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			all = append(all, cert)
		}
	}
	if cert, err := x509.ParseCertificate(content); err == nil && len(all) == 0 {
		all = append(all, cert)
	}
	return all
}

func domain(c *x509.Certificate) string {
	switch {
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	case c.Subject.CommonName != "":
		return c.Subject.CommonName
	case len(c.IPAddresses) > 0:
		return c.IPAddresses[0].String()
	default:
		return "serial " + c.SerialNumber.Text(16)
	}
}

// names identifies what a certificate is for, so that its successor is known.
func names(c *x509.Certificate) string {
	all := append([]string{c.Subject.CommonName}, c.DNSNames...)
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}
