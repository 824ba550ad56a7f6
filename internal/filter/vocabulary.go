package filter

import (
	"slices"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Word is a name that a filter may use.
type Word struct {
	Name string // as it is written; a function's ends with an opening bracket
	Doc  string // what it is, in a few words
}

// Vocabulary lists the attributes, constants and functions of filters, sorted,
// for help while somebody writes one. Each of them compiles; CEL's own functions
// on texts and lists are not among them.
func Vocabulary() []Word {
	known := map[string]string{
		"specversion": "version of CloudEvents", "id": "id that the producer gave", "source": "what produced it", "type": "type of the event",
		"subject": "what it is about", "datacontenttype": "media type of the data", "dataschema": "schema of the data",
		"kind": "host, sys, significant, audit or custom", "severitytext": "severity as a text",
		"time": "when it happened", "recordedtime": "when it was recorded", "expirytime": "when it is gone",
		"severity": "info, notice, warn, error or critical, in this order", "severitynumber": "severity as a number (OpenTelemetry)",
		"causationdepth": "how many events led to it", "sequence": "place in the journal",
		"data.":      "a member of the data",
		"actor.id":   "id of who did it",
		"actor.name": "name of who did it", "actor.email": "mail address of who did it", "actor.type": "user, api_key, service_account, system",
		"actor.on_behalf_of": "who was impersonated",
		"geo.country":        "country of the address", "geo.continent": "continent of the address", "geo.city": "city of the address",
		"geo.lat": "latitude, as a text", "geo.lon": "longitude, as a text",
		"asn.number": "number of the network", "asn.org": "owner of the network", "asn.network": "the network",
		"glob(":   `glob(type, "backup_*"): does a text match a pattern`,
		"inCIDR(": `inCIDR(clientip, "192.0.2.0/24"): is an address in a network`,
		"text(":   `text("needle"): is it in a value of the data`,
		"ago(":    `ago("24h"): a time back from now`,
		"has(":    "has(data.x): is the member there",
	}
	docs := map[string]string{
		"authtype": "kind of who did it", "authid": "id of who did it", "authname": "name of who did it", "authemail": "mail address of who did it",
		"onbehalfof": "who was impersonated", "clientip": "address of the client", "host": "name of the machine", "brand": "brand of the host name",
		"correlationid": "what belongs together", "causationid": "id of what led to it", "traceparent": "W3C trace context", "recordedby": "token that brought it",
	}
	for _, name := range event.TextAttributes() {
		if name != "asn" { // the map of this name has it as asn.number
			known[name] = docs[name]
		}
	}
	for _, s := range event.Severities() {
		known[s.String()] = "severity"
	}
	words := make([]Word, 0, len(known))
	for name, doc := range known {
		words = append(words, Word{name, doc})
	}
	slices.SortFunc(words, func(a, b Word) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return words
}
