package web

func describeBrands() map[string]operation {
	limit := param("limit", object{"type": "integer", "minimum": 1, "maximum": maxPage}, "Most items on a page.")
	cursor := param("cursor", object{"type": "string", "pattern": seqPattern}, "The next of the page before.")
	return map[string]operation{
		"list":   {summary: "How the server looks under its host names.", params: []parameter{limit, cursor}, answers: ok("200", "A page of brands.", list("Brand"))},
		"create": {summary: "Add a brand. Events that come in under its host names carry its name.", body: jsonBody(ref("NewBrand")), answers: ok("201", "The brand.", ref("Brand"))},
		"get":    {summary: "One brand.", answers: ok("200", "The brand.", ref("Brand"))},
		"put":    {summary: "Replace a brand.", body: jsonBody(ref("NewBrand")), answers: ok("200", "The brand.", ref("Brand"))},
		"patch":  {summary: "Change a brand (merge patch).", body: jsonBody(ref("BrandPatch")), answers: ok("200", "The brand.", ref("Brand"))},
		"delete": {summary: "Remove a brand.", answers: map[string]answerDoc{"204": {doc: "It is gone."}}},
	}
}

func brandSchemas() object {
	str := object{"type": "string"}
	colour := object{"type": "string", "pattern": "^(#[0-9a-fA-F]{6})?$"}
	in := object{
		"name": object{"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$"}, "title": object{"type": "string", "maxLength": 80},
		"hosts": object{"type": "array", "items": object{"type": "string", "maxLength": 253, "pattern": `^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`}},
		"logo":  object{"type": "string", "pattern": `^(data:image/(png|webp|svg\+xml);base64,([A-Za-z0-9+/]{4})*)?$`}, "colours": input("", object{"accent": colour, "accent_dark": colour}),
	}
	return object{
		"Brand": record("id name title hosts logo colours created updated", object{
			"id": str, "name": str, "title": str, "hosts": object{"type": "array", "items": str}, "logo": str, "colours": object{"type": "object"}, "created": str, "updated": str,
		}),
		"NewBrand": input("name", in), "BrandPatch": input("", in),
	}
}
