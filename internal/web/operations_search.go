package web

// searchOperations are those of searches and what is kept of them.
type searchOperations struct {
	facets, searchExport                                               operation
	searches, addSearch, oneSearch, putSearch, patchSearch, dropSearch operation
}

func describeSearches(filter, since, until, transient, limit, cursor parameter) (o searchOperations) {
	o.facets = operation{
		summary: "The most frequent types, kinds, sources, actors and addresses.", params: []parameter{filter, since, until, transient, limit},
		answers: ok("200", "Values and how many events have them.", ref("Facets")),
	}
	o.searchExport = operation{
		summary: "Every event that matches, oldest first, as a stream.", params: []parameter{
			filter, since, until, transient, param("format", object{"type": "string", "enum": []string{"ndjson", "csv"}}, "Form of the stream; ndjson unless csv."),
		}, answers: map[string]answerDoc{"200": {"A stream of events; with format csv as text/csv.", ndjsonMedia + " text/csv", object{"type": "string"}}},
	}
	o.searches = operation{summary: "Saved searches: one's own, and those that are shared.", params: []parameter{limit, cursor}, answers: ok("200", "A page of searches.", list("Search"))}
	o.addSearch = operation{summary: "Save a search.", body: jsonBody(ref("NewSearch")), answers: ok("201", "The search.", ref("Search"))}
	o.oneSearch = operation{summary: "One saved search.", answers: ok("200", "The search.", ref("Search"))}
	o.putSearch = operation{summary: "Replace a saved search.", body: jsonBody(ref("NewSearch")), answers: ok("200", "The search.", ref("Search"))}
	o.patchSearch = operation{summary: "Change a saved search (merge patch).", body: jsonBody(ref("SearchPatch")), answers: ok("200", "The search.", ref("Search"))}
	o.dropSearch = operation{summary: "Remove a saved search.", answers: map[string]answerDoc{"204": {doc: "It is gone."}}}
	return o
}

func searchSchemas() object {
	str, boolean := object{"type": "string"}, object{"type": "boolean"}
	search := object{
		"name": object{"type": "string", "minLength": 1, "maxLength": 80}, "filter": str, "since": str,
		"by": object{"type": "string", "enum": []string{"", "type"}}, "shared": boolean,
	}
	return object{
		"Search": record("id name filter since by shared owner created mine", object{
			"id": str, "name": str, "filter": str, "since": str, "by": str, "shared": boolean, "owner": str, "created": str, "mine": boolean,
		}),
		"NewSearch": input("name", search), "SearchPatch": input("", search),
		"Facets": record("facets partial", object{"partial": boolean, "facets": object{"type": "object", "additionalProperties": object{
			"type": "array", "items": record("value count", object{"value": str, "count": object{"type": "integer"}}),
		}}}),
	}
}
