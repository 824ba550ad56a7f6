package config

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Forward makes a server an agent: what it records goes on to another one.
type Forward struct {
	URL       string            `yaml:"url" doc:"Server to which every event is sent on, such as https://tocsin.example.com; empty for none."`
	TokenFile string            `yaml:"token_file" doc:"File with an API token of that server; its scope must be forward."`
	CAFile    string            `yaml:"ca_file" doc:"PEM file with the authorities that vouch for the server; empty for those of the system."`
	CertFile  string            `yaml:"cert_file" doc:"PEM file with the certificate that this host shows (mutual TLS); empty for none."`
	KeyFile   string            `yaml:"key_file" doc:"PEM file with its key."`
	Labels    map[string]string `yaml:"labels" doc:"Attributes that every event from here gets, such as dc: fra."`
}

// Agents configures what is expected of the hosts that report here.
type Agents struct {
	SilentAfter Duration `yaml:"silent_after" doc:"How long an agent may be silent before that is told."`
}

// TLS makes the server itself speak TLS.
type TLS struct {
	CertFile     string `yaml:"cert_file" doc:"PEM file with the server's certificate and those that vouch for it; read anew when it changes. Empty for plain HTTP."`
	KeyFile      string `yaml:"key_file" doc:"PEM file with its key."`
	ClientCAFile string `yaml:"client_ca_file" doc:"PEM file with the authorities that vouch for agents: tokens with the scope forward are then taken only over a connection that shows such a certificate (mutual TLS)."`
}

// labelName is the form of a name of an extension attribute (CloudEvents 1.0.2,
// 3.1.1), with the length that it recommends at most.
var labelName = regexp.MustCompile(`^[a-z][a-z0-9]{0,19}$`)

// maxLabels bound what each event grows by.
const (
	maxLabels = 16
	maxLabel  = 256 // bytes
)

// Validate checks where events are forwarded to.
func (f *Forward) Validate() []error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, event.Invalidf(format, args...)) }
	if f.URL == "" {
		if f.TokenFile != "" || f.CAFile != "" || f.CertFile != "" || f.KeyFile != "" {
			bad("forward: url is missing; without it nothing is forwarded")
		}
	} else {
		f.validateURL(bad)
	}
	if (f.CertFile == "") != (f.KeyFile == "") {
		bad("forward: cert_file and key_file are given together or not at all")
	}
	if len(f.Labels) > maxLabels {
		bad("forward.labels: %d are too many: at most %d", len(f.Labels), maxLabels)
	}
	for name, value := range f.Labels {
		switch {
		case !labelName.MatchString(name):
			bad("forward.labels: %q is not a name of 1 to 20 small letters and digits that begins with a letter", name)
		case event.Reserved(name):
			bad("forward.labels: %q is an attribute that events have already", name)
		case value == "" || len(value) > maxLabel:
			bad("forward.labels: the value of %s must have 1 to %d bytes", name, maxLabel)
		}
	}
	return problems
}

func (f *Forward) validateURL(bad func(string, ...any)) {
	u, err := url.Parse(f.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		bad("forward.url: %q is not an http or https URL without user, query and fragment", redactURL(f.URL))
		return
	case f.TokenFile == "":
		bad("forward.token_file is missing: make a token on %s with tocsin tokens create --scope forward, and name the file that holds it", u.Host)
	}
	if u.Scheme == "https" {
		return
	}
	if f.CAFile != "" || f.CertFile != "" {
		bad("forward: ca_file and cert_file are for https, but url is %s", redactURL(f.URL))
	}
	if !local(u.Hostname()) {
		bad("forward.url: %s would carry the token in the clear: use https", redactURL(f.URL))
	}
}

// local tells whether a name never leaves this machine.
func local(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

func (t *TLS) validate() []error {
	switch {
	case (t.CertFile == "") != (t.KeyFile == ""):
		return []error{event.Invalidf("tls: cert_file and key_file are given together or not at all")}
	case t.ClientCAFile != "" && t.CertFile == "":
		return []error{event.Invalidf("tls.client_ca_file needs cert_file and key_file: without them the server does not speak TLS")}
	}
	return nil
}

// LabelNames are the names of the labels, sorted.
func (f *Forward) LabelNames() []string {
	names := make([]string, 0, len(f.Labels))
	for name := range f.Labels {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
