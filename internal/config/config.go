// Package config reads Tocsin's configuration: one YAML file and the TOCSIN_
// environment variables.
//
// It promises: every key has a default, so that no file is needed; an unknown
// key, a wrong type or a value out of range is an error that names the file's
// line or the variable, and all problems are told at once; a secret is never
// printed.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Config is the whole configuration.
type Config struct {
	Listen    string   `yaml:"listen" doc:"Address and port of the API and the pages."`
	Data      string   `yaml:"data" doc:"Folder of the journal, the state database and the keys."`
	Database  string   `yaml:"database" doc:"State database; empty for SQLite in the data folder."`
	PublicURL string   `yaml:"public_url" doc:"Address under which others reach this server; the base of its events' sources. Empty for http:// and listen."`
	Group     string   `yaml:"group" doc:"Operating system group whose members may emit through the socket."`
	Proxies   []string `yaml:"trusted_proxies" doc:"Networks whose X-Forwarded-For is believed, or, where there is none, whose Forwarded (RFC 7239)."`

	Log         Log         `yaml:"log"`
	Retention   Retention   `yaml:"retention"`
	Ingest      Ingest      `yaml:"ingest"`
	Geo         Geo         `yaml:"geo"`
	Significant Significant `yaml:"significant"`
	Traces      Traces      `yaml:"traces"`
	SMTP        SMTP        `yaml:"smtp"`
	Sessions    Sessions    `yaml:"sessions"`
	Egress      Egress      `yaml:"egress"`
	OIDC        []OIDC      `yaml:"oidc" doc:"OpenID providers whose users may sign in."`
	License     License     `yaml:"license"`
	Updates     Updates     `yaml:"updates"`
	TLS         TLS         `yaml:"tls"`
	Forward     Forward     `yaml:"forward"`
	Flows       Flows       `yaml:"flows"`
	Agents      Agents      `yaml:"agents"`
	Networks    []Network   `yaml:"networks" doc:"Networks of your own, and what they are called."`

	Sources map[string]yaml.Node `yaml:"sources" doc:"Options of each source, by its name."`

	// Origin says for each key that the file or the environment gives a value
	// where that is, in words. The settings may change the others.
	Origin map[string]string `yaml:"-"`
}

// SMTP names the mail server through which all mails go.
type SMTP struct {
	Host         string `yaml:"host" doc:"Mail server; empty for none, and no mails."`
	Port         int    `yaml:"port" doc:"Its port: 587 for starttls, 465 for implicit."`
	Username     string `yaml:"username" doc:"Name to sign in with; empty for none."`
	PasswordFile string `yaml:"password_file" doc:"File that holds the password."`
	From         string `yaml:"from" doc:"Sender of all mails."`
	TLS          string `yaml:"tls" doc:"How the connection is encrypted: starttls, implicit or none."`

	// Password is what the settings have in place of the file. It is never read
	// from a configuration nor written into one.
	Password string `yaml:"-" json:"-"`
	// Guarded says that the settings name the place, not a configuration: who may
	// change them is not who decides about egress.allow, so that is asked.
	Guarded bool `yaml:"-" json:"-"`
}

// Validate checks the mail server.
func (s *SMTP) Validate() []error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, event.Invalidf(format, args...)) }
	switch s.TLS {
	case "starttls", "implicit", "none":
	default:
		bad("smtp.tls: %q is unknown: use starttls, implicit or none", s.TLS)
	}
	if s.Port < 1 || s.Port > 65535 {
		bad("smtp.port: %d is no port", s.Port)
	}
	if s.Host == "" {
		return problems
	}
	if a, err := mail.ParseAddress(s.From); err != nil || !strings.Contains(a.Address, "@") {
		bad("smtp.from: %q is not an address such as tocsin@example.com", s.From)
	}
	if (s.Username == "") != (s.PasswordFile == "" && s.Password == "") {
		bad("smtp: username and password (in a configuration, password_file) are given together or not at all")
	}
	return problems
}

// Sessions configures what people's sessions are bound to: one that is used from
// elsewhere ends.
type Sessions struct {
	BindNetwork string `yaml:"bind_network" doc:"What of the network a session is bound to: none, asn, network or address; each includes those before it."`
	BindPlace   string `yaml:"bind_place" doc:"What of the place a session is bound to: none, continent, country or city; likewise. Needs the files of geo."`
}

func (s *Sessions) validate() []error {
	var problems []error
	if !slices.Contains([]string{"none", "asn", "network", "address"}, s.BindNetwork) {
		problems = append(problems, event.Invalidf("sessions.bind_network: %q is unknown: use none, asn, network or address", s.BindNetwork))
	}
	if !slices.Contains([]string{"none", "continent", "country", "city"}, s.BindPlace) {
		problems = append(problems, event.Invalidf("sessions.bind_place: %q is unknown: use none, continent, country or city", s.BindPlace))
	}
	return problems
}

// Log configures the program's own log, JSON lines on standard error.
type Log struct {
	Level  string `yaml:"level" doc:"Least level that is written: debug, info, warn or error."`
	Events bool   `yaml:"events" doc:"Whether each recorded event is written as an info line."`
}

// Retention says how long events are kept.
type Retention struct {
	Default  Duration `yaml:"default" doc:"How long events are kept."`
	Long     Duration `yaml:"long" doc:"How long events of the class long are kept."`
	Short    Duration `yaml:"short" doc:"How long events of the class short are kept."`
	MaxBytes Bytes    `yaml:"max_bytes" doc:"Size from which the oldest events are removed; 0 for no cap."`
	Rules    []Rule   `yaml:"rules" doc:"Which events are of the class long or short; the first rule that fits decides."`
	Holds    []Hold   `yaml:"holds" doc:"Days of recording that are kept whatever else is said (legal hold)."`
}

// Hold keeps what was recorded from one day to another, both included (UTC).
type Hold struct {
	From   time.Time `yaml:"from" doc:"First day."`
	Until  time.Time `yaml:"until" doc:"Last day; empty for open."`
	Reason string    `yaml:"reason" doc:"Why; for people."`
}

// Covers reports whether a day is held.
func (h Hold) Covers(day time.Time) bool {
	const length = 24 * time.Hour
	return day.Add(length).After(h.From) && (h.Until.IsZero() || !day.After(h.Until))
}

// Rule puts events into a retention class.
type Rule struct {
	Types    []string `yaml:"types" json:"types" doc:"Patterns of types; empty for all."`
	Severity string   `yaml:"severity" json:"severity" doc:"Least severity; empty for all."`
	Class    string   `yaml:"class" json:"class" doc:"default, long or short."`
}

// Ingest configures what is accepted.
type Ingest struct {
	Unknown  string `yaml:"unknown" doc:"What is done with unknown types and with data that does not fit: accept, quarantine or reject."`
	MaxEvent Bytes  `yaml:"max_event" doc:"Size of the largest event."`
	MaxBatch Bytes  `yaml:"max_batch" doc:"Size of the largest batch."`
}

// Geo names the MMDB files that say where addresses are.
type Geo struct {
	City    string `yaml:"city" doc:"MMDB file with cities."`
	Country string `yaml:"country" doc:"MMDB file with countries."`
	ASN     string `yaml:"asn" doc:"MMDB file with autonomous systems."`
}

// Significant configures the events of seed 002.
type Significant struct {
	SourceBase string `yaml:"source_base" doc:"Base of the source of significant events; empty for public_url."`
}

// Traces says where OpenTelemetry spans of requests go.
type Traces struct {
	Endpoint    string  `yaml:"endpoint" doc:"Collector that takes OTLP over HTTP, such as http://127.0.0.1:4318; /v1/traces is added where it has no path. Empty for no traces."`
	CAFile      string  `yaml:"ca_file" doc:"PEM file with the authorities that vouch for the collector; empty for those of the system."`
	HeadersFile string  `yaml:"headers_file" doc:"File with headers for the collector, one Name: value a line; for its credentials."`
	Sample      float64 `yaml:"sample" doc:"Share of the requests that are traced, 0 to 1; a request that carries a traceparent follows the decision in it."`
	ServiceName string  `yaml:"service_name" doc:"The service.name of the spans."`
}

// Validate checks where traces go.
func (t *Traces) Validate() []error {
	var problems []error
	if t.Endpoint != "" {
		if u, err := url.Parse(t.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			problems = append(problems, event.Invalidf("traces.endpoint: %q is not an http or https URL without user, query and fragment; credentials belong into headers_file", redactURL(t.Endpoint)))
		} else if t.CAFile != "" && u.Scheme == "http" {
			problems = append(problems, event.Invalidf("traces.ca_file: the endpoint %s is not encrypted: use https, or leave ca_file empty", t.Endpoint))
		}
	}
	if !(t.Sample >= 0 && t.Sample <= 1) { // also refuses NaN
		problems = append(problems, event.Invalidf("traces.sample: %v is out of range: 0 to 1", t.Sample))
	}
	if t.ServiceName == "" {
		problems = append(problems, event.Invalidf("traces.service_name: the name is empty"))
	}
	return problems
}

// ListExample shows the keys that are lists. A test loads it.
const ListExample = `trusted_proxies: [10.0.0.0/8]        # whose X-Forwarded-For is believed
retention:
  rules:                             # the first that fits decides the class: default, long or short
    - {types: ["auth.*", "login*"], class: long}
    - {severity: critical, class: long}
    - {types: ["trigger.*"], class: short}
  holds:                             # kept whatever else is said
    - {from: 2026-02-01, until: 2026-02-28, reason: "case 17"}
egress:
  allow: [10.20.0.0/16, "fd12:3456::/32"]   # not public, yet webhooks, chats, mail servers and flows may call it
  rewrite: {hooks.example.com: "http://10.20.0.5:8080/hooks"}   # where calls for a host go instead
networks:                            # of your own: asorg and asnetwork of events from there
  - {cidr: 10.0.0.0/8, label: "the company"}
  - {cidr: 10.3.0.0/16, label: Frankfurt}
oidc:                                # their users sign in; groups give access levels
  - {name: company, issuer: "https://id.example.com", client_id: tocsin, client_secret_file: /etc/tocsin/oidc, groups: {sre: admin, staff: viewer}}
forward:                             # with a url, this host is an agent: what it records goes on there
  labels: {dc: fra, rack: r12}       # attributes of every event from here: attribute("dc") == "fra"
flows:
  commands:                            # that flows may run; {unit} is what the flow fills in
    restart_unit: [/usr/bin/systemctl, restart, --, "{unit}"]
sources:
  disk_full: {high: 90, low: 85}
  domain_expiry: {paths: [/etc/letsencrypt/live, /srv/tls]}
`

// Default is the configuration without a file.
func Default() Config {
	const day = 24 * time.Hour
	return Config{
		Listen: "127.0.0.1:7722", Data: "tocsin-data",
		Log:       Log{Level: "info"},
		SMTP:      SMTP{Port: 587, TLS: "starttls"},
		Sessions:  Sessions{BindNetwork: "none", BindPlace: "none"},
		Retention: Retention{Default: Duration(365 * day), Long: Duration(3650 * day), Short: Duration(30 * day)},
		Ingest:    Ingest{Unknown: "accept", MaxEvent: 1 << 20, MaxBatch: 16 << 20},
		Traces:    Traces{Sample: 1, ServiceName: "tocsin"},
		Flows:     Flows{MaxSteps: 100_000, MaxTime: Duration(time.Minute)},
		Agents:    Agents{SilentAfter: Duration(5 * time.Minute)},
	}
}

// Load reads a file, where path is not empty, and the environment, given as
// os.Environ gives it. The error joins every problem.
func Load(path string, environ []string) (Config, error) {
	c := Default()
	var problems []error
	var text []byte
	if path != "" {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			return c, event.Invalidf("configuration: %w", err)
		}
		problems = append(problems, c.parse(path, text)...)
	}
	problems = append(problems, c.environment(environ)...)
	c.Origin = origins(text, environ)
	problems = append(problems, c.Validate()...)
	return c, errors.Join(problems...)
}

func (c *Config) parse(path string, text []byte) []error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	err := d.Decode(c)
	var typed *yaml.TypeError
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return nil
	case !errors.As(err, &typed):
		return []error{event.Invalidf("%s: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	var problems []error
	for _, e := range typed.Errors {
		problems = append(problems, event.Invalidf("%s: %s", path, plain(e)))
	}
	return problems
}

var unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)

func plain(msg string) string {
	return unknownField.ReplaceAllString(msg, `unknown key "$1"; tocsin check --defaults lists all keys`)
}

// Validate checks every value and completes what depends on others.
func (c *Config) Validate() []error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, event.Invalidf(format, args...)) }
	if _, err := netip.ParseAddrPort(resolveLocal(c.Listen)); err != nil {
		bad("listen: %q is not an address and port such as 127.0.0.1:7722", c.Listen)
	}
	if c.Data == "" {
		bad("data: the folder's name is empty")
	}
	if c.Database != "" {
		bad("database: %q: this version keeps its state in SQLite only; leave the key empty", redactURL(c.Database))
	}
	if c.PublicURL == "" {
		c.PublicURL = "http://" + c.Listen
		if c.TLS.CertFile != "" {
			c.PublicURL = "https://" + c.Listen
		}
	}
	c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	if err := CheckPublicURL(c.PublicURL); err != nil {
		problems = append(problems, err)
	}
	if c.Significant.SourceBase == "" {
		c.Significant.SourceBase = c.PublicURL
	}
	c.Significant.SourceBase = strings.TrimRight(c.Significant.SourceBase, "/")
	for _, p := range c.Proxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			bad("trusted_proxies: %q is not a network such as 10.0.0.0/8", p)
		}
	}
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		bad("log.level: %q is unknown: use debug, info, warn or error", c.Log.Level)
	}
	switch c.Ingest.Unknown {
	case "accept", "quarantine", "reject":
	default:
		bad("ingest.unknown: %q is unknown: use accept, quarantine or reject", c.Ingest.Unknown)
	}
	if c.Ingest.MaxEvent < 1<<10 || c.Ingest.MaxEvent > 8<<20 {
		bad("ingest.max_event: %d bytes is out of range: 1 KiB to 8 MiB", c.Ingest.MaxEvent)
	}
	if c.Ingest.MaxBatch < c.Ingest.MaxEvent || c.Ingest.MaxBatch > 256<<20 {
		bad("ingest.max_batch: %d bytes is out of range: max_event to 256 MiB", c.Ingest.MaxBatch)
	}
	problems = append(problems, c.Traces.Validate()...)
	problems = append(problems, c.SMTP.Validate()...)
	problems = append(problems, c.Sessions.validate()...)
	problems = append(problems, c.Egress.Validate()...)
	problems = append(problems, c.TLS.validate()...)
	problems = append(problems, c.Forward.Validate()...)
	problems = append(problems, c.Flows.Validate()...)
	if time.Duration(c.Agents.SilentAfter) < time.Minute {
		bad("agents.silent_after: %s is too short: at least 1m, since agents report every 20s", c.Agents.SilentAfter)
	}
	if err := errors.Join(c.License.validate(), c.Updates.validate()); err != nil {
		problems = append(problems, err)
	}
	for i := range c.OIDC {
		if err := c.OIDC[i].validate(i); err != nil {
			problems = append(problems, err)
		}
	}
	for i := range c.Networks {
		if err := c.Networks[i].validate(i); err != nil {
			problems = append(problems, err)
		}
	}
	return append(problems, c.Retention.Validate()...)
}

// CheckPublicURL refuses an address under which nobody can reach a server.
func CheckPublicURL(text string) error {
	if u, err := url.Parse(text); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return event.Invalidf("public_url: %q is not an http or https URL", text)
	}
	return nil
}

func resolveLocal(listen string) string {
	return strings.Replace(listen, "localhost:", "127.0.0.1:", 1)
}

func redactURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(unreadable)"
	}
	return u.Redacted()
}

// Validate checks the retention.
func (r *Retention) Validate() []error {
	var problems []error
	for _, d := range []struct {
		name  string
		value Duration
	}{{"default", r.Default}, {"long", r.Long}, {"short", r.Short}} {
		if time.Duration(d.value) < time.Hour {
			problems = append(problems, event.Invalidf("retention.%s: %s is too short: at least 1h", d.name, d.value))
		}
	}
	if r.MaxBytes != 0 && r.MaxBytes < 64<<20 {
		problems = append(problems, event.Invalidf("retention.max_bytes: %d is too small: at least 64 MiB, or 0 for no cap", r.MaxBytes))
	}
	for n, h := range r.Holds {
		if h.Reason == "" || h.From.IsZero() || !h.Until.IsZero() && h.Until.Before(h.From) {
			problems = append(problems, event.Invalidf("retention.holds[%d]: needs from, a reason, and no until before from", n))
		}
	}
	for n, rule := range r.Rules {
		if rule.Severity != "" {
			if _, err := event.ParseSeverity(rule.Severity); err != nil {
				problems = append(problems, fmt.Errorf("retention.rules[%d]: %w", n, err))
			}
		}
		switch rule.Class {
		case "default", "long", "short":
		default:
			problems = append(problems, event.Invalidf("retention.rules[%d]: class %q is unknown: use default, long or short", n, rule.Class))
		}
	}
	return problems
}
