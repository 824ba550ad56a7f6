package notify

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
)

// subject is an event that rules look at; what several of them need is found
// once. It belongs to one goroutine.
type subject struct {
	*event.Event
	in *filter.Input
}

func newSubject(e *event.Event) *subject { return &subject{Event: e} }

func (s *subject) input() *filter.Input {
	if s.in == nil {
		s.in = filter.NewInput(s.Event)
	}
	return s.in
}

// line is the event in one line, without its text.
func (s *subject) line() line {
	return line{Seq: s.Sequence, At: s.RecordedTime.UnixNano(), Type: s.Type, Severity: s.Severity}
}

// condition is a compiled matcher or expression.
type condition struct {
	matcher *compiledMatcher
	filter  *filter.Filter
}

// condition compiles what must be exactly one of a matcher and an expression.
func (n *Notify) condition(m *Matcher, expression string) (*condition, error) {
	switch {
	case m == nil && strings.TrimSpace(expression) == "":
		return nil, event.Invalidf("a policy needs a matcher or an expression")
	case m != nil && expression != "":
		return nil, event.Invalidf("a policy is a matcher or an expression, not both")
	case m != nil:
		compiled, err := compileMatcher(m)
		return &condition{matcher: compiled}, err
	}
	f, err := n.o.Filters.Compile(expression)
	if err != nil {
		return nil, event.Invalidf("expression: %w", err)
	}
	return &condition{filter: f}, nil
}

func (c *condition) holds(ctx context.Context, s *subject) (bool, error) {
	if c.matcher != nil {
		return c.matcher.field(s) == "", nil
	}
	return c.filter.MatchContext(ctx, s.input())
}

// text is the condition as people read it.
func (c *condition) text() string {
	if c.filter != nil {
		return c.filter.String()
	}
	doc, err := json.Marshal(c.matcher.Matcher)
	if err != nil {
		return "matcher"
	}
	return string(doc)
}

type compiledMatcher struct {
	*Matcher
	address netip.Prefix
}

func compileMatcher(m *Matcher) (*compiledMatcher, error) {
	if *m == (Matcher{}) {
		return nil, event.Invalidf("matcher: is empty and would match everything; leave the policy out, or set a field")
	}
	c := &compiledMatcher{Matcher: m}
	if m.ClientIP == "" {
		return c, nil
	}
	if ip, err := netip.ParseAddr(m.ClientIP); err == nil {
		c.address = netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen())
		return c, nil
	}
	network, err := netip.ParsePrefix(m.ClientIP)
	if err != nil {
		return nil, event.Invalidf("matcher.client_ip: %q is neither an address nor a network such as 192.0.2.0/24", m.ClientIP)
	}
	c.address = network.Masked()
	return c, nil
}

// field names the first configured field that does not match; empty when all do.
func (m *compiledMatcher) field(s *subject) string {
	switch {
	case m.Type != "" && !filter.Glob(m.Type, string(s.Type)):
		return "type"
	case m.Kind != "" && m.Kind != string(s.Kind):
		return "kind"
	case m.Producer != "" && m.Producer != s.Source && m.Producer != s.Source[strings.LastIndexByte(s.Source, '/')+1:]:
		return "producer"
	case m.Model != "" && !m.isModel(s):
		return "model"
	case m.ClientIP != "" && !m.holdsAddress(s.ClientIP):
		return "client_ip"
	case m.Brand != "" && m.Brand != s.Brand:
		return "brand"
	}
	return ""
}

func (m *compiledMatcher) isModel(s *subject) bool {
	name := catalog.Lookup(s.Event, "data.model.model_name")
	return name != "" && (m.Model == name || m.Model == catalog.Lookup(s.Event, "data.model.app")+"."+name)
}

func (m *compiledMatcher) holdsAddress(text string) bool {
	ip, err := netip.ParseAddr(text)
	return err == nil && m.address.Contains(ip.Unmap().WithZone(""))
}
