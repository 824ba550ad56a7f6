package web

// settingsShown are the members of the settings in an answer.
func settingsShown(retention object) object {
	text, list := object{"type": "string"}, object{"type": "array", "items": object{"type": "string"}}
	return object{
		"retention": retention, "public_url": text,
		"smtp": object{"type": "object", "properties": object{
			"host": text, "port": object{"type": "integer"}, "username": text, "password_set": object{"type": "boolean"}, "from": text, "tls": text,
		}},
		"configured":    object{"type": "object", "additionalProperties": text, "description": "Keys that the configuration sets, and where; they are not changed here."},
		"after_restart": object{"type": "array", "items": list["items"], "description": "Keys whose new value holds from the next start on."},
	}
}

// settingsTaken are those of a merge patch; null takes one back.
func settingsTaken(retention object) object {
	text := object{"type": []string{"string", "null"}}
	return object{
		"retention": retention, "public_url": object{"type": []string{"string", "null"}, "pattern": "^https?://"},
		"smtp": object{"type": []string{"object", "null"}, "additionalProperties": false, "properties": object{
			"host": text, "port": object{"type": []string{"integer", "null"}, "minimum": 1, "maximum": 65535}, "username": text,
			"password": object{"type": []string{"string", "null"}, "description": "Kept sealed, and never shown."}, "from": text,
			"tls": object{"type": []any{"string", "null"}, "enum": []any{"starttls", "implicit", "none", nil}},
		}},
	}
}
