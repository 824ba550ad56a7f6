package web

import "maps"

// describeIdentity says what the routes of identityTable are for, by pattern.
func describeIdentity() map[string]operation {
	docs := map[string]operation{}
	gone := func(doc string) map[string]answerDoc { return map[string]answerDoc{"204": {doc: doc}} }
	free := object{"type": "object"}
	add := func(pattern, summary string, body object, answers map[string]answerDoc) {
		o := operation{summary: summary, answers: answers}
		if body != nil {
			o.body = jsonBody(body)
		}
		docs[pattern] = o
	}
	crud := func(path, what, schema, create, patch string) {
		maps.Copy(docs, describeCRUD(path, what, what+"s", schema, create, patch))
	}
	crud("/v1/users", "user", "User", "NewUser", "UserPatch")
	crud("/v1/groups", "group", "Group", "NewGroup", "GroupPatch")
	crud("/v1/roles", "role", "Role", "NewRole", "RolePatch")
	crud("/v1/invitations", "invitation", "Invitation", "NewInvitation", "")

	add("POST /v1/auth/logout", "End the session of the token that is shown.", nil, gone("It has ended."))
	form := func(properties object, required ...string) map[string]object {
		return map[string]object{"application/x-www-form-urlencoded": {"type": "object", "required": required, "properties": properties, "additionalProperties": false}}
	}
	oauth := func(good map[string]answerDoc) map[string]answerDoc {
		good["400"] = answerDoc{"A refusal as OAuth has them.", "application/json", free}
		good["401"] = answerDoc{"The client is not known.", "application/json", free}
		return good
	}
	text := object{"type": "string"}
	docs["POST /v1/auth/device"] = operation{
		summary: "Let a program without a browser ask to be let in (RFC 8628). The client_id is tocsin-cli.",
		body:    form(object{"client_id": text, "scope": text}, "client_id"), answers: oauth(ok("200", "The codes, and where somebody lets it in.", free)),
	}
	docs["POST /v1/auth/device/token"] = operation{
		summary: "Ask whether the program was let in (RFC 8628).",
		body:    form(object{"grant_type": object{"const": deviceGrant}, "device_code": text, "client_id": text}, "grant_type", "device_code", "client_id"),
		answers: oauth(ok("200", "A session.", free)),
	}
	add("POST /v1/auth/verify-email", "Show that an address is one's own, by the link that was mailed to it.", ref("TokenOnly"), ok("200", "It is verified.", free))
	add("POST /v1/auth/password-reset", "Ask for a link to set a new password. The answer is the same for every name.", ref("NameOnly"), ok("202", "If there is such a user, a mail is on its way.", free))
	add("POST /v1/auth/password-reset/confirm", "Set a new password by the link.", ref("NewPassword"), gone("It is set."))
	add("POST /v1/invitations/accept", "Make an account by the link of an invitation.", ref("Acceptance"), ok("201", "The user.", ref("User")))
	add("POST /v1/invitations/{id}/reveal", "Tell an invitation's link again, to those who give their password again.", ref("PasswordOnly"), ok("200", "The link.", free))

	const user = "/v1/users/{id}"
	for verb, summary := range map[string]string{
		"unsuspend": "Let a suspended user in again.", "archive": "Put an account away.", "unarchive": "Bring an account back from the archive.",
	} {
		add("POST "+user+"/"+verb, summary, nil, ok("200", "The user.", ref("User")))
	}
	docs["POST "+user+"/suspend"] = operation{
		summary: "Keep a user out, and end their sessions.", body: jsonBody(ref("Reason")), optional: true, answers: ok("200", "The user.", ref("User")),
	}
	add("POST "+user+"/password-reset", "Send a user a link to set a new password; where no mail can be sent, it is told.", nil, ok("202", "It is on its way.", free))
	add("POST "+user+"/api-key", "Make a user's API key anew. It is told this once; the old one ends.", nil, ok("200", "The key.", free))
	add("POST "+user+"/impersonate", "Act as a user. Every event names both.", nil, ok("200", "A token of an hour.", ref("Session")))
	add("DELETE "+user+"/impersonate", "Stop acting as a user.", nil, gone("It has ended."))
	add("GET "+user+"/ssh-keys", "A user's SSH keys.", nil, ok("200", "All of them.", list("SSHKey")))
	add("POST "+user+"/ssh-keys", "Give a user an SSH key, which signs events.", ref("NewSSHKey"), ok("201", "The key.", ref("SSHKey")))
	add("GET "+user+"/ssh-keys/{key}", "One SSH key.", nil, ok("200", "The key.", ref("SSHKey")))
	add("DELETE "+user+"/ssh-keys/{key}", "Take an SSH key from a user.", nil, gone("It is removed."))
	add("GET "+user+"/delegates", "Who may act for a user.", nil, ok("200", "All of them.", list("Delegate")))
	add("POST "+user+"/delegates", "Let another user act for this one, by the header Tocsin-On-Behalf-Of.", ref("NewDelegate"), ok("201", "The delegate.", ref("Delegate")))
	add("GET "+user+"/delegates/{delegate}", "One delegate.", nil, ok("200", "The delegate.", ref("Delegate")))
	add("DELETE "+user+"/delegates/{delegate}", "End a delegation.", nil, gone("It has ended."))
	add("GET "+user+"/totp", "Whether one-time passwords are asked for.", nil, ok("200", "How it stands.", free))
	add("POST "+user+"/totp", "Make a seed for one-time passwords. It counts once it is confirmed.", nil, ok("200", "The seed, this once.", free))
	add("POST "+user+"/totp/confirm", "Turn one-time passwords on by the first of them.", ref("OTPOnly"), ok("200", "The recovery codes, this once.", free))
	add("DELETE "+user+"/totp", "Turn one-time passwords off.", nil, gone("They are off."))
	add("GET "+user+"/sessions", "A user's open sessions.", nil, ok("200", "All of them.", list("SessionInfo")))
	add("DELETE "+user+"/sessions/{session}", "End a session, at once.", nil, gone("It has ended."))
	return docs
}

// allSchemas are the schemas of everything.
func allSchemas() object {
	all := schemas()
	maps.Copy(all, identitySchemas())
	return all
}

func identitySchemas() object {
	str, boolean := object{"type": "string"}, object{"type": "boolean"}
	some := object{"type": "string", "minLength": 1}
	secret := object{"type": "string", "minLength": 1, "maxLength": 1024}
	when := object{"type": []string{"string", "null"}, "format": "date-time"}
	scopes := object{"type": "array", "minItems": 1, "items": object{"type": "string", "enum": []string{"read", "emit", "forward", "admin"}}}
	ids := object{"type": "array", "items": str}
	name := object{"type": "string", "minLength": 1, "maxLength": 128}
	newUser := object{
		"username": object{"type": "string", "pattern": `^[a-z0-9][a-z0-9._@-]{0,63}$`}, "name": str, "email": str, "password": str,
		"current_password": str, "access_level": some, "groups": ids,
	}
	return object{
		"User": record("id username access_level groups state", object{
			"id": str, "username": str, "name": str, "email": str, "email_verified": boolean, "access_level": str, "groups": ids,
			"state": object{"type": "string", "enum": []string{"active", "suspended", "archived"}}, "suspended": boolean, "archived": boolean,
			"two_factor": boolean, "created": str, "updated": str,
		}),
		"NewUser": input("username access_level", newUser), "UserPatch": input("", newUser),
		"Group":    record("id name", object{"id": str, "name": str, "created": str, "updated": str}),
		"NewGroup": input("name", object{"name": name}), "GroupPatch": input("", object{"name": name}),
		"Role":    record("id name scopes", object{"id": str, "name": str, "scopes": scopes, "created": str, "updated": str}),
		"NewRole": input("name scopes", object{"name": name, "scopes": scopes}), "RolePatch": input("", object{"name": name, "scopes": scopes}),
		"Invitation": record("id email access_level expires_at used_at", object{
			"id": str, "email": str, "access_level": str, "groups": object{"type": []string{"array", "null"}}, "expires_at": str, "mailed": boolean,
			"used_at": when, "used_by": str, "created": str, "token": str, "link": str,
		}),
		"NewInvitation": input("access_level", object{"email": str, "access_level": some, "groups": ids, "expires_at": when}),
		"Acceptance":    input("token username password", object{"token": secret, "username": some, "name": str, "password": secret}),
		"SSHKey":        record("id name public_key fingerprint", object{"id": str, "name": str, "public_key": str, "fingerprint": str, "created": str}),
		"NewSSHKey":     input("public_key", object{"name": str, "public_key": some}),
		"Delegate":      record("id user username", object{"id": str, "user": str, "username": str, "created": str}),
		"NewDelegate":   input("user", object{"user": some}),
		"SessionInfo": record("id method created expires_at", object{
			"id": str, "method": str, "actor": str, "created": str, "seen": str, "expires_at": str, "client_ip": str, "user_agent": str,
			"bound": object{"type": "object"}, "current": boolean,
		}),
		"Reason": input("", object{"reason": str}), "TokenOnly": input("token", object{"token": secret}), "NameOnly": input("username", object{"username": some}),
		"NewPassword": input("token password", object{"token": secret, "password": secret}), "PasswordOnly": input("password", object{"password": secret}),
		"OTPOnly": input("otp", object{"otp": secret}),
	}
}
