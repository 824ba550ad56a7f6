package source

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/tail"
)

// Delivery: inotify(7) on the folders of certbot, lego and Caddy, and a look at
// every interval; for failures, the logs of the three, line by line.
// Makes: cert_renew, with ok true for each new certificate and ok false for each
// failure that a client logged, with the reason that it gave. What failed again
// within an hour is counted and told at its end.
// Leaves out: what was there when a folder was seen for the first time; failures
// of a client that writes no log (see docs/certificates.md).
func init() {
	register("cert_renew", "Certificates that certbot, lego or Caddy has renewed, or failed to.", acmeOptions{
		Enabled: true, Interval: config.Duration(time.Minute),
		Certbot: []string{"/etc/letsencrypt"}, CertbotLogs: []string{"/var/log/letsencrypt/letsencrypt.log"},
		Lego: []string{"/etc/lego", "/var/lib/lego", "/root/.lego"}, LegoLogs: []string{"/var/log/lego.log"},
		Caddy: []string{"/var/lib/caddy/.local/share/caddy"}, CaddyLogs: []string{"/var/log/caddy/caddy.log"},
	}, newAcme)
}

type acmeOptions struct {
	Enabled     bool            `yaml:"enabled" doc:"Whether renewals are watched."`
	Interval    config.Duration `yaml:"interval" doc:"How often the folders are read although nothing was heard of them; at least 10s."`
	Certbot     []string        `yaml:"certbot" doc:"Configuration folders of certbot, with live below."`
	CertbotLogs []string        `yaml:"certbot_logs" doc:"Logs of certbot; wildcards are allowed."`
	Lego        []string        `yaml:"lego" doc:"Folders of lego, with certificates below."`
	LegoLogs    []string        `yaml:"lego_logs" doc:"Files into which the output of lego is written; wildcards are allowed."`
	Caddy       []string        `yaml:"caddy" doc:"Storage folders of Caddy, with certificates below."`
	CaddyLogs   []string        `yaml:"caddy_logs" doc:"Logs of Caddy, in JSON; wildcards are allowed."`
}

const (
	// acmeSettle is how long the files of one renewal may take to be written.
	acmeSettle = 500 * time.Millisecond
	// acmeMost bounds lineages and watched folders.
	acmeMost = 10000
)

// acmeClient says where a client keeps certificates and how it logs failures.
type acmeClient struct {
	name         string
	roots, logs  []string
	certificates string   // pattern of certificates below a root
	folders      []string // patterns of folders that change with them
	failures     func() acmeLog
}

type acme struct {
	acmeOptions
	clients []acmeClient
	again   *flood

	mu       sync.Mutex // guards all below
	unseen   int        // parts that have not looked for the first time
	found    int
	problems map[string]string // by folder or log
}

func newAcme(o acmeOptions) (Source, error) {
	if time.Duration(o.Interval) < 10*time.Second {
		return nil, event.Invalidf("interval: %s is shorter than 10s", o.Interval)
	}
	for _, p := range slices.Concat(o.CertbotLogs, o.LegoLogs, o.CaddyLogs) {
		if _, err := filepath.Match(p, ""); err != nil {
			return nil, event.Invalidf("%q is no pattern of files", p)
		}
	}
	return &acme{
		acmeOptions: o, again: newFlood(time.Hour, 200), problems: map[string]string{},
		clients: []acmeClient{
			{"certbot", o.Certbot, o.CertbotLogs, "live/*/cert.pem", []string{"", "live", "live/*"}, func() acmeLog { return &certbotRun{} }},
			{"lego", o.Lego, o.LegoLogs, "certificates/*.crt", []string{"", "certificates"}, func() acmeLog { return legoLog{} }},
			{"caddy", o.Caddy, o.CaddyLogs, "certificates/*/*/*.crt", []string{"", "certificates", "certificates/*", "certificates/*/*"}, func() acmeLog { return caddyLog{} }},
		},
	}, nil
}

// Run implements Source.
func (a *acme) Run(ctx context.Context, env *Env) error {
	if err := a.again.load(ctx, env); err != nil {
		return err
	}
	a.unseen = 1
	parts := []func(context.Context) error{
		func(ctx context.Context) error { return a.folders(ctx, env, sync.OnceFunc(a.seen)) },
		func(ctx context.Context) error { return a.again.run(ctx, env) },
	}
	for _, c := range a.clients {
		if len(c.logs) > 0 {
			a.unseen++
			parts = append(parts, func(ctx context.Context) error { return a.read(ctx, env, &c, sync.OnceFunc(a.seen)) })
		}
	}
	return inParallel(ctx, parts...)
}

// seen notes that one more part has looked for the first time: before all have,
// nothing is said of the source.
func (a *acme) seen() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unseen--
}

// folders looks whenever something changes, and at every interval.
func (a *acme) folders(ctx context.Context, env *Env, first func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		env.Problem(err) // without it, the interval remains
		return every(ctx, time.Duration(a.Interval), func(ctx context.Context, _ time.Time) error {
			err := a.look(ctx, env)
			first()
			a.report(env)
			return err
		})
	}
	defer func() { _ = w.Close() }()
	tick := time.NewTicker(time.Duration(a.Interval))
	defer tick.Stop()
	for {
		// First the watch, then the look: what is made in between is seen by one of them.
		a.watch(w)
		if err := a.look(ctx, env); err != nil && ctx.Err() == nil {
			return err
		}
		first()
		a.report(env)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-w.Errors: //nolint:errcheck // changes were lost: we look now anyway
		case <-w.Events:
			settled(ctx, w, acmeSettle)
		}
	}
}

// settled waits until nothing was heard for a time, and ten times that at most.
func settled(ctx context.Context, w *fsnotify.Watcher, quiet time.Duration) {
	latest := time.NewTimer(10 * quiet)
	defer latest.Stop()
	still := time.NewTimer(quiet)
	defer still.Stop()
	for {
		select {
		case <-w.Events:
			still.Reset(quiet)
		case <-still.C:
			return
		case <-latest.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// watch asks the kernel for changes in the folders that are there.
func (a *acme) watch(w *fsnotify.Watcher) {
	known := w.WatchList()
	for _, c := range a.clients {
		for _, root := range c.roots {
			for _, f := range c.folders {
				found, err := filepath.Glob(filepath.Join(escapePattern(root), f))
				if err != nil {
					continue // the patterns are constant and right
				}
				for _, folder := range found {
					if !slices.Contains(known, folder) && len(known) < acmeMost {
						_ = w.Add(folder) // not to be read: the look says so
						known = append(known, folder)
					}
				}
			}
		}
	}
}

// escapePattern makes a path a pattern that matches it alone (filepath.Match).
func escapePattern(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// lineage is what is remembered of the certificate of a path.
type lineage struct {
	Print    string    `json:"print"` // of the newest certificate, SHA-256
	NotAfter time.Time `json:"not_after"`
}

// acmeMemory is what was seen.
type acmeMemory struct {
	Roots    map[string]bool    `json:"roots"` // that were read at least once
	Lineages map[string]lineage `json:"lineages"`
}

const acmeKey = "seen"

// look tells of every certificate that was not there at the last look.
func (a *acme) look(ctx context.Context, env *Env) error {
	seen := acmeMemory{}
	if err := recall(ctx, env, acmeKey, &seen); err != nil {
		return err
	}
	if seen.Roots == nil || seen.Lineages == nil {
		seen = acmeMemory{map[string]bool{}, map[string]lineage{}}
	}
	changed, found := false, 0
	for _, c := range a.clients {
		for _, root := range c.roots {
			certs, err := c.read(root)
			a.problem(root, err)
			found += len(certs)
			for path, cert := range certs {
				was, known := seen.Lineages[path]
				now := lineage{fingerprint(cert), cert.NotAfter.UTC()}
				if now == was || !known && len(seen.Lineages) >= acmeMost {
					continue
				}
				if seen.Roots[root] {
					if err := tell(ctx, env, renewed(env, c.name, path, cert, now, known)); err != nil {
						return err
					}
				}
				seen.Lineages[path], changed = now, true
				if seen.Roots[root] { // at once: the next one may fail
					if err := remember(ctx, env, acmeKey, seen); err != nil {
						return err
					}
				}
			}
			if err == nil && !seen.Roots[root] {
				seen.Roots[root], changed = true, true
			}
		}
	}
	a.mu.Lock()
	a.found = found
	a.mu.Unlock()
	if forget(seen.Lineages, time.Now()) || changed {
		return remember(ctx, env, acmeKey, seen)
	}
	return nil
}

// forget drops lineages that ended long ago, so that their number stays bounded.
func forget(all map[string]lineage, now time.Time) (changed bool) {
	for path, l := range all {
		if now.Sub(l.NotAfter) < 90*24*time.Hour {
			continue
		}
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			delete(all, path)
			changed = true
		}
	}
	return changed
}

// read gives the certificates below a root. A root that is not there has none.
func (c *acmeClient) read(root string) (map[string]*x509.Certificate, error) {
	found, err := filepath.Glob(filepath.Join(escapePattern(root), c.certificates))
	if err != nil {
		return nil, err
	}
	certs := make(map[string]*x509.Certificate, len(found))
	for _, path := range found[:min(len(found), acmeMost)] {
		if strings.HasSuffix(path, ".issuer.crt") {
			continue // lego keeps the authority beside the certificate
		}
		cert, err := leaf(path)
		if errors.Is(err, fs.ErrPermission) {
			return certs, err
		}
		if cert != nil { // half written ones are there at the next look
			certs[path] = cert
		}
	}
	// Glob is silent about what it may not read.
	for _, f := range c.folders {
		if strings.Contains(f, "*") {
			break
		}
		if _, err := os.ReadDir(filepath.Join(root, f)); errors.Is(err, fs.ErrPermission) {
			return certs, err
		}
	}
	return certs, nil
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// renewed is the finding of a new certificate.
func renewed(env *Env, client, path string, cert *x509.Certificate, now lineage, before bool) finding {
	return finding{
		producer: "acme", t: "cert_renew", severity: event.Info, subject: "certificate/" + domain(cert),
		id: madeID("cert_renew", env.Host, path, now.Print),
		data: map[string]any{
			"domain": domain(cert), "domains": domains(cert), "ok": true, "renewed": before, "issuer": cert.Issuer.String(),
			"not_before": cert.NotBefore.UTC().Format(time.RFC3339), "not_after": cert.NotAfter.UTC().Format(time.RFC3339),
			"serial": cert.SerialNumber.Text(16), "path": path, "client": client,
		},
	}
}

// domains are all names of a certificate.
func domains(c *x509.Certificate) []string {
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		all = append(all, domain(c))
	}
	return all
}

// read tells of the failures in a client's logs.
func (a *acme) read(ctx context.Context, env *Env, c *acmeClient, first func()) error {
	key := "log." + c.name
	saved := struct {
		Place string          `json:"place"`
		Run   *certbotRun     `json:"run,omitempty"`
		Paths map[string]bool `json:"-"`
	}{}
	if err := recall(ctx, env, key, &saved); err != nil {
		return err
	}
	log := c.failures()
	if run, ok := log.(*certbotRun); ok && saved.Run != nil {
		*run = *saved.Run
	}
	o := tail.Options{Patterns: c.logs, Present: func(_ int, err error) {
		a.problem(c.name+" log", err)
		first()
		a.report(env)
	}}
	return tail.Run(ctx, o, saved.Place, func(ctx context.Context, lines []tail.Line, place string) error {
		for _, line := range lines {
			for _, f := range log.line(line.Text) {
				if err := a.again.take(ctx, env, time.Now(), c.failed(env, f)); err != nil {
					return err
				}
			}
		}
		saved.Place = place
		saved.Run, _ = log.(*certbotRun)
		return remember(ctx, env, key, saved)
	})
}

// failed is the finding of a failure.
func (c *acmeClient) failed(env *Env, f acmeFailure) finding {
	if f.domain == "" {
		f.domain = "unknown"
	}
	if len(f.domains) == 0 {
		f.domains = []string{f.domain}
	}
	data := map[string]any{"domain": f.domain, "domains": f.domains, "ok": false, "client": c.name, "error": shorten(f.reason, 4000)}
	if c.name == "certbot" && f.lineage != "" {
		for _, root := range c.roots {
			path := filepath.Join(root, "live", filepath.Base(f.lineage), "cert.pem")
			if cert, err := leaf(path); err == nil && cert != nil {
				data["path"], data["issuer"], data["not_after"] = path, cert.Issuer.String(), cert.NotAfter.UTC().Format(time.RFC3339)
				data["domain"], data["domains"] = domain(cert), domains(cert)
			}
		}
	}
	return finding{
		producer: "acme", t: "cert_renew", severity: event.Error, subject: "certificate/" + data["domain"].(string), at: f.at,
		id: madeID("cert_renew", env.Host, c.name, f.domain, f.at.UTC().Format(time.RFC3339Nano), f.reason), key: c.name + " " + f.domain, data: data,
	}
}

// problem notes what keeps a folder or a log from being read; nil takes it away.
func (a *acme) problem(of string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.problems, of)
	if errors.Is(err, fs.ErrPermission) {
		a.problems[of] = err.Error()
	}
}

// report shows how it goes.
func (a *acme) report(env *Env) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unseen > 0 {
		return
	}
	for of := range a.problems {
		text := "no permission: " + a.problems[of] + "; give the server's user read access (docs/privileges.md)"
		if a.found == 0 {
			env.Status(Unavailable, text)
		} else {
			env.Status(Running, text)
		}
		return
	}
	if a.found == 0 {
		env.Status(Idle, "no certificates of certbot, lego or Caddy were found: name their folders in sources.cert_renew")
		return
	}
	env.Status(Running, "")
}
