package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

func itoa(n int) string { return strconv.Itoa(n) }

// anEvent is the JSON of an event with an id; members, given as name, value
// pairs, add to it or replace its own. A nil value removes one.
func anEvent(id string, members ...any) string {
	e := object{"specversion": "1.0", "id": id, "source": "urn:test", "type": "com.example.thing"}
	for i := 0; i < len(members); i += 2 {
		name := members[i].(string)
		if e[name] = members[i+1]; e[name] == nil {
			delete(e, name)
		}
	}
	raw, err := json.Marshal(e)
	if err != nil {
		panic(err) // what tests write marshals
	}
	return string(raw)
}

// events is n events with ids that begin with a prefix.
func events(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = anEvent(fmt.Sprintf("%s-%d", prefix, i), "data", object{"n": i})
	}
	return all
}

func batch(events ...string) string { return "[" + strings.Join(events, ",") + "]" }

func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return fmt.Sprint(v)
}
