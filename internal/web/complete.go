package web

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// completion is how a filter that is being written may go on. The texts replace
// the token, which are the last characters before the caret.
type completion struct {
	Token string       `json:"token"`
	Items []suggestion `json:"items"`
}

type suggestion struct {
	Text  string `json:"text"`
	Label string `json:"label"`
	Doc   string `json:"doc"`
}

// Bounds of completion.
const (
	completeMost    = 40
	completeSample  = 300 // events whose values are looked at
	completeTimeout = 60 * time.Millisecond
)

var (
	openText  = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_.]*)(\s*(?:==|!=|in\s*\[[^\]]*)\s*|\s*,\s*|\.(?:startsWith|endsWith|contains|matches)\()"((?:[^"\\]|\\.)*)$`)
	openName  = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_.]*$`)
	levelName = regexp.MustCompile(`severity\s*(?:==|!=|<=|>=|<|>)\s*([a-z]*)$`)
)

// getComplete suggests how the filter in the search box may go on: attributes and
// functions, fields and types of the catalog, and values that were seen.
func (s *Server) getComplete(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "text")
	before := q.text("text")
	if len(before) > filter.MaxSource {
		q.fail("query: text is longer than %d bytes", filter.MaxSource)
	}
	if q.err != nil {
		return q.err
	}
	out := s.complete(r.Context(), before)
	if out.Items = out.Items[:min(len(out.Items), completeMost)]; out.Items == nil {
		out.Items = []suggestion{}
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) complete(ctx context.Context, before string) completion {
	quotes := strings.Count(before, `"`) - strings.Count(before, `\"`)
	if quotes%2 == 1 {
		m := openText.FindStringSubmatch(before)
		if m == nil {
			return completion{}
		}
		return completion{m[3], s.suggestValues(ctx, m[1], m[3])}
	}
	if m := levelName.FindStringSubmatch(before); m != nil {
		var items []suggestion
		for _, sev := range event.Severities() {
			if strings.HasPrefix(sev.String(), m[1]) {
				items = append(items, suggestion{sev.String(), sev.String(), "severity"})
			}
		}
		return completion{m[1], items}
	}
	name := openName.FindString(before)
	if path, ok := strings.CutPrefix(name, "data."); ok {
		return completion{name, s.suggestFields(before, path)}
	}
	if name == "" && before != "" && !strings.HasSuffix(before, " ") && !strings.HasSuffix(before, "(") {
		return completion{}
	}
	return completion{name, suggestNames(name)}
}

// suggestNames are the words of the language that begin with a prefix.
func suggestNames(prefix string) []suggestion {
	var items []suggestion
	for _, word := range filter.Vocabulary() {
		if strings.HasPrefix(strings.ToLower(word.Name), strings.ToLower(prefix)) && word.Name != prefix {
			items = append(items, suggestion{word.Name, word.Name, word.Doc})
		}
	}
	return items
}

// suggestFields are the fields of the types that the filter names; of all types
// where it names none.
func (s *Server) suggestFields(before, prefix string) []suggestion {
	docs := map[string]string{}
	add := func(e *catalog.Entry) {
		for _, f := range e.Fields {
			if strings.HasPrefix(f.Name, prefix) && docs[f.Name] == "" {
				docs[f.Name] = f.Doc
			}
		}
	}
	all := s.Catalog.All()
	for i := range all {
		if strings.Contains(before, `"`+string(all[i].Type)+`"`) {
			add(&all[i])
		}
	}
	if len(docs) == 0 {
		for i := range all {
			add(&all[i])
		}
	}
	var items []suggestion
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		items = append(items, suggestion{"data." + name, "data." + name, docs[name]})
	}
	return items
}

// suggestValues are values of an attribute or a member of the data: those that
// the catalog knows, and those of the newest events.
func (s *Server) suggestValues(ctx context.Context, name, prefix string) []suggestion {
	docs := map[string]string{}
	add := func(value, doc string) {
		if strings.HasPrefix(value, prefix) && value != "" && len(value) <= 200 {
			if _, known := docs[value]; !known {
				docs[value] = doc
			}
		}
	}
	if name == "type" {
		for _, e := range s.Catalog.All() {
			add(string(e.Type), e.Description)
		}
	}
	for value, n := range s.seen(ctx, name) {
		add(value, "seen "+countText(n)+" times lately")
	}
	var items []suggestion
	for _, value := range slices.SortedFunc(maps.Keys(docs), cmp.Compare) {
		quoted, err := json.Marshal(value)
		if err != nil {
			continue
		}
		text := unescapeHTML.Replace(string(quoted))
		items = append(items, suggestion{text[1:], plain(value), docs[value]}) // the opening quote is there, the closing one is ours
	}
	return items
}

// seen counts the values of a name among the newest events.
func (s *Server) seen(ctx context.Context, name string) map[string]int64 {
	counts := map[string]int64{}
	found, err := s.Journal.Search(ctx, &segment.Query{Since: math.MinInt64, Until: math.MaxInt64, Limit: completeSample, MaxBytes: 4 << 20, Deadline: time.Now().Add(completeTimeout)})
	if err != nil {
		return counts // only suggestions are missing
	}
	path, inData := strings.CutPrefix(name, "data.")
	for i := range found.Hits {
		e, err := event.Decode(found.Hits[i].Body)
		if err != nil {
			continue
		}
		if inData {
			counts[memberText(e.Data, path)]++
		} else {
			counts[e.Text(attributeOf(name))]++
		}
	}
	return counts
}

// attributeOf is the attribute behind a name such as actor.name.
func attributeOf(name string) string {
	aliases := map[string]string{
		"actor.id": "authid", "actor.name": "authname", "actor.email": "authemail", "actor.type": "authtype", "actor.on_behalf_of": "onbehalfof",
		"geo.country": "geocountry", "geo.continent": "geocontinent", "geo.city": "geocity", "asn.number": "asn", "asn.org": "asorg", "asn.network": "asnetwork",
	}
	return cmp.Or(aliases[name], name)
}

// memberText is the text at a path in data; empty when there is none.
func memberText(raw []byte, path string) string {
	for name := range strings.SplitSeq(path, ".") {
		var object map[string]json.RawMessage
		if json.Unmarshal(raw, &object) != nil {
			return ""
		}
		raw = object[name]
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return text
}
