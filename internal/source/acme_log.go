package source

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"
)

// acmeFailure is what a client logged about a certificate that it did not get.
type acmeFailure struct {
	domain  string
	domains []string
	lineage string // certbot's name of it
	reason  string
	at      time.Time
}

// acmeLog finds failures in the lines of a log.
type acmeLog interface {
	line(text string) []acmeFailure
}

// certbotRun reads certbot's log, in which one failure takes many lines: which
// names were asked for, what the authority objects to each, and the end.
type certbotRun struct {
	Asked  []string `json:"asked,omitempty"`  // by the command line
	Doing  string   `json:"doing,omitempty"`  // the first name of the certificate in work
	Detail []string `json:"detail,omitempty"` // what the authority said
	Of     string   `json:"of,omitempty"`     // the name of which it is saying something
	Kind   string   `json:"kind,omitempty"`
	Told   bool     `json:"told,omitempty"`
}

var (
	certbotLine   = regexp.MustCompile(`^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}):([A-Z]+):([\w.]+):(.*)$`)
	certbotDoing  = regexp.MustCompile(`^Notifying user: (?:Requesting a|Renewing an existing) certificate for (\S+)`)
	certbotFailed = regexp.MustCompile(`^Failed to renew certificate (\S+) with error: (.*)$`)
	certbotOld    = regexp.MustCompile(`^Attempting to renew cert \((\S+)\) from \S+ produced an unexpected error: (.*?)(?:\. Skipping\.)?$`)
	certbotNames  = regexp.MustCompile(`'(?:-d|--domains?)', '([^']*)'`)
)

// maxDetail is how many objections of an authority are kept.
const maxDetail = 20

func (c *certbotRun) line(text string) []acmeFailure {
	m := certbotLine.FindStringSubmatch(text)
	if m == nil {
		c.continued(text)
		return nil
	}
	level, module, message := m[3], m[4], m[5]
	at, err := time.ParseInLocation("2006-01-02 15:04:05.000", m[1]+"."+m[2], time.Local)
	if err != nil {
		return nil
	}
	c.Of = ""
	switch {
	case strings.HasPrefix(message, "certbot version: "):
		*c = certbotRun{}
	case strings.HasPrefix(message, "Arguments: "):
		for _, n := range certbotNames.FindAllStringSubmatch(message, 100) {
			c.Asked = append(c.Asked, strings.FieldsFunc(n[1], func(r rune) bool { return r == ',' || r == ' ' })...)
		}
	case strings.HasPrefix(message, "Notifying user: Processing "):
		c.Doing, c.Detail = "", nil
	case certbotDoing.MatchString(message):
		c.Doing, c.Detail = certbotDoing.FindStringSubmatch(message)[1], nil
	case level != "ERROR" && level != "WARNING":
	case certbotFailed.MatchString(message):
		return c.renewal(certbotFailed.FindStringSubmatch(message), at)
	case certbotOld.MatchString(message):
		return c.renewal(certbotOld.FindStringSubmatch(message), at)
	case level == "ERROR" && strings.HasSuffix(module, ".log") && !c.Told && (c.Doing != "" || len(c.Asked) > 0):
		// The last words of a run that was not a renewal of all.
		f := acmeFailure{domain: c.Doing, domains: c.Asked, reason: c.reason(message), at: at}
		if f.domain == "" {
			f.domain = c.Asked[0]
		}
		c.Told = true
		return []acmeFailure{f}
	}
	return nil
}

// renewal is the failure of one certificate among those that were to be renewed.
func (c *certbotRun) renewal(m []string, at time.Time) []acmeFailure {
	f := acmeFailure{domain: m[1], lineage: m[1], reason: c.reason(m[2]), at: at}
	if c.Doing != "" {
		f.domain = c.Doing
	}
	c.Told, c.Detail, c.Doing = true, nil, ""
	return []acmeFailure{f}
}

// continued reads the lines "Domain:", "Type:" and "Detail:" that follow.
func (c *certbotRun) continued(text string) {
	name, value, found := strings.Cut(strings.TrimSpace(text), ":")
	if !found {
		return
	}
	value = strings.TrimSpace(value)
	switch name {
	case "Domain":
		c.Of, c.Kind = value, ""
	case "Type":
		c.Kind = value
	case "Detail":
		if c.Of != "" && len(c.Detail) < maxDetail {
			c.Detail = append(c.Detail, shorten(c.Of+": "+c.Kind+": "+value, 500))
		}
	}
}

func (c *certbotRun) reason(said string) string {
	return strings.Join(append([]string{said}, c.Detail...), "\n")
}

// legoLog reads what lego prints, a line for each name that it failed for.
type legoLog struct{}

var legoFailed = regexp.MustCompile(`^(?:(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) )?(?:error: )?\[([^\]\s]+)\] (acme: error.*|error: .*|.*urn:ietf:params:acme:error:.*)$`)

func (legoLog) line(text string) []acmeFailure {
	m := legoFailed.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil || m[2] == "INFO" || m[2] == "WARN" {
		return nil
	}
	f := acmeFailure{domain: m[2], reason: m[3]}
	if at, err := time.ParseInLocation("2006/01/02 15:04:05", m[1], time.Local); err == nil {
		f.at = at
	} else {
		f.at = time.Now() // only the line before has the time
	}
	return []acmeFailure{f}
}

// caddyLog reads Caddy's JSON log (certmagic). An attempt has failed when all
// authorities have refused: that is when it says "will retry" or gives up.
type caddyLog struct{}

var caddyDomain = regexp.MustCompile(`^\[([^\]\s]+)\]\s*`)

func (caddyLog) line(text string) []acmeFailure {
	if !strings.Contains(text, `"tls.`) {
		return nil // access logs are long
	}
	var l struct {
		Level, Logger, Msg, Error, Identifier string
		TS                                    float64
	}
	if json.Unmarshal([]byte(text), &l) != nil || l.Level != "error" || l.Error == "" ||
		l.Logger != "tls.obtain" && l.Logger != "tls.renew" || l.Msg != "will retry" && !strings.HasPrefix(l.Msg, "final attempt") {
		return nil
	}
	f := acmeFailure{domain: l.Identifier, reason: l.Error, at: time.Now()}
	if m := caddyDomain.FindStringSubmatch(l.Error); m != nil {
		f.domain, f.reason = m[1], l.Error[len(m[0]):]
	}
	if l.TS > 0 && l.TS < 1<<33 {
		f.at = time.UnixMicro(int64(l.TS * 1e6))
	}
	return []acmeFailure{f}
}
