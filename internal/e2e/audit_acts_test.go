package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"
)

// The acts of TestEveryTypeIsRaised, in the order in which they can be done.

const masked = "********************"

// people are seed 002's acts, most of them upon the user ann by an administrator.
func (w *stage) people() []act {
	const mail, key = "ann@example.com", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINNwMHM8lLcve+HMdKmjaanRnkdOE0Sm3ZUxkjv5LTgg ann@host"
	var other, keyID, seed string
	// told is seed 002's event: about ann, by somebody.
	told := func(byID, byEmail, email, message string) object {
		return object{
			"id": anID, "time": milliTime, "source": "http://tocsin.example/auth-microservice", "specversion": "1.0", "datacontenttype": jsonMedia,
			"data": object{"userId": w.ann, "userEmail": email, "loggedInUserId": byID, "loggedInUserEmail": byEmail, "message": message},
		}
	}
	byBoss := func(message string) object { return told("1", "admin@example.com", mail, message) }
	// upon makes a request about ann.
	upon := func(method, below, body string, status int) object {
		return w.act(method, "/v1/users/"+w.ann+below, w.boss, body, status)
	}
	return []act{
		{"user.created", []string{"model_created"}, func() object {
			made := w.act("POST", "/v1/users", w.boss, `{"username":"ann","name":"Ann","email":"`+mail+`","password":"`+password+`","access_level":"viewer"}`, 201)
			w.ann = text(made["id"])
			return byBoss("New user account created")
		}},
		{"user.email.verified", []string{"model_updated"}, func() object {
			w.act("POST", "/v1/auth/verify-email", "none", `{"token":"`+w.box.next(w.t, mail).token(w.t)+`"}`, 200)
			return told(w.ann, mail, mail, "Email address verified successfully")
		}},
		{"user.suspended", []string{"model_updated"}, func() object {
			upon("POST", "/suspend", `{"reason":"policy violation"}`, 200)
			return byBoss("User suspended due to policy violation")
		}},
		{"user.unsuspended", []string{"model_updated"}, func() object {
			upon("POST", "/unsuspend", "", 200)
			return byBoss("User account reactivated")
		}},
		{"user.archived", []string{"model_updated"}, func() object {
			upon("POST", "/archive", "", 200)
			return byBoss("User account archived")
		}},
		{"user.unarchived", []string{"model_updated"}, func() object {
			upon("POST", "/unarchive", "", 200)
			return byBoss("User account restored from archive")
		}},
		{"user.access.level.set", []string{"model_updated"}, func() object {
			upon("PATCH", "", `{"access_level":"admin"}`, 200)
			return byBoss("User access level changed to Administrator")
		}},
		{"user.credentials.changed", []string{"model_updated", "password_set"}, func() object {
			upon("PATCH", "", `{"password":"another-good-one"}`, 200)
			return byBoss("User password updated successfully")
		}},
		{"user.password.reset.requested", nil, func() object {
			upon("POST", "/password-reset", "", 202)
			return byBoss("Password reset initiated for user")
		}},
		{"user.api.key.regenerated", []string{"model_updated"}, func() object {
			upon("POST", "/api-key", "", 200)
			return byBoss("API key regenerated for security purposes")
		}},
		{"user.ssh.key.created", []string{"model_created"}, func() object {
			keyID = text(upon("POST", "/ssh-keys", `{"name":"laptop","public_key":"`+key+`"}`, 201)["id"])
			return byBoss("SSH key added to user account")
		}},
		{"user.ssh.key.deleted", []string{"model_deleted"}, func() object {
			upon("DELETE", "/ssh-keys/"+keyID, "", 204)
			return byBoss("SSH key removed from user account")
		}},
		{"user.delegate.added", []string{"model_created"}, func() object {
			other = w.user("dora", "viewer")
			upon("POST", "/delegates", `{"user":"`+other+`"}`, 201)
			return byBoss("Parent user ID: " + w.ann + " with email " + mail + " added delegate with ID " + other + " with email dora@example.com")
		}},
		{"user.delegate.removed", []string{"model_deleted"}, func() object {
			upon("DELETE", "/delegates/"+other, "", 204)
			return byBoss("Delegate access revoked from user")
		}},
		{"user.2fa.enabled", []string{"model_updated"}, func() object {
			token := w.session("ann", "another-good-one")
			seed = text(w.act("POST", "/v1/users/me/totp", token, "", 200)["secret"])
			code, err := totp.GenerateCode(seed, time.Now())
			if err != nil {
				w.t.Fatal(err)
			}
			w.act("POST", "/v1/users/me/totp/confirm", token, `{"otp":"`+code+`"}`, 200)
			return told(w.ann, mail, mail, "Two-factor authentication enabled")
		}},
		{"user.2fa.disabled", []string{"model_updated"}, func() object {
			upon("DELETE", "/totp", "", 204)
			return byBoss("Two-factor authentication disabled")
		}},
		{"user.email.updated", []string{"model_updated", "user_write"}, func() object {
			upon("PATCH", "", `{"email":"anne@example.com"}`, 200)
			return told("1", "admin@example.com", "anne@example.com", "User email address changed from "+mail)
		}},
	}
}

// signingIn are seed 003's acts of coming, going and being let in.
func (w *stage) signingIn() []act {
	var token, revoked, invited, acting string
	form := func(b *browser, path string, values url.Values) {
		w.t.Helper()
		w.request = asked("POST", path)
		if r := b.do(http.MethodPost, path, values.Encode(), from...); r.status != http.StatusSeeOther {
			w.t.Fatalf("POST %s: %d %s", path, r.status, clip(r.body))
		}
	}
	return []act{
		{"login", []string{"auth.ok"}, func() object {
			token = text(w.act("POST", "/v1/auth/token", "", `{"username":"admin","password":"`+password+`"}`, 200)["token"])
			return w.audited("identity", theAdmin, object{"auth_method": "password", "auth_method_args": object{}})
		}},
		{"login_failed", []string{"auth.error"}, func() object {
			w.act("POST", "/v1/auth/token?next=%2F", "", `{"username":"admin","password":"wrong-password"}`, 401)
			return w.audited("identity", nobody, object{
				"stage": model("passwordstage", "password", "password"), "password": masked, "username": "admin", "reason": "wrong password",
			})
		}},
		{"secret_rotate", []string{"auth.renew"}, func() object {
			token = text(w.act("POST", "/v1/auth/renew", token, "", 200)["token"])
			return w.audited("identity", theAdmin, object{"token_of": model("user", "1", "admin")})
		}},
		{"logout", nil, func() object {
			w.act("POST", "/v1/auth/logout", token, "", 204)
			return w.audited("identity", theAdmin, object{"reason": "signed out"})
		}},
		{"suspicious_request", nil, func() object {
			made := w.act("POST", "/v1/tokens", w.boss, `{"name":"gone","scopes":["read"]}`, 201)
			revoked = text(made["token"])
			w.act("DELETE", "/v1/tokens/"+text(made["id"]), w.boss, "", 204)
			w.act("GET", "/v1/sources", revoked, "", 401)
			return w.audited("identity", nobody, object{"message": "a revoked token was used: API token gone", "method": "GET", "path": "/v1/sources"})
		}},
		{"user_write", []string{"model_updated"}, func() object {
			w.act("PATCH", "/v1/users/me", w.boss, `{"name":"The Administrator"}`, 200)
			return w.audited("identity", theAdmin, object{"name": "The Administrator", "email": "admin@example.com", "created": false, "username": "admin", "attributes": object{}})
		}},
		{"password_set", []string{"logout", "model_updated", "user.credentials.changed"}, func() object {
			w.act("PATCH", "/v1/users/"+w.ann, w.boss, `{"password":"`+password+`"}`, 200)
			return w.audited("identity", theAdmin, object{"user": model("user", w.ann, "ann")})
		}},
		{"secret_view", nil, func() object {
			made := w.act("POST", "/v1/invitations", w.boss, `{"email":"bob@example.com","access_level":"viewer"}`, 201)
			invited = text(made["id"])
			w.act("POST", "/v1/invitations/"+invited+"/reveal", w.boss, `{"password":"`+password+`"}`, 200)
			return w.audited("identity", theAdmin, object{"secret_of": model("invitation", invited, "bob@example.com")})
		}},
		{"invitation_used", []string{"model_created", "model_updated", "user.created", "user_write"}, func() object {
			link := w.box.next(w.t, "bob@example.com").token(w.t)
			made := w.act("POST", "/v1/invitations/accept", "none", `{"token":"`+link+`","username":"bob","name":"Bob","password":"`+password+`"}`, 201)
			bob := who(0, "bob")
			bob["pk"] = jsonNumber(made["id"])
			return w.audited("identity", bob, object{"invitation": model("invitation", invited, "bob@example.com")})
		}},
		{"authorize_application", nil, func() object {
			b := newBrowser(w.server)
			b.signIn("/")
			code := text(parse[object](w.t, w.post("/v1/auth/device", "application/x-www-form-urlencoded", "client_id=tocsin-cli", from...).body)["user_code"])
			form(b, "/device", url.Values{"code": {code}, "decision": {"approve"}})
			return w.audited("identity", theAdmin, object{
				"authorized_application": model("application", "tocsin-cli", "Tocsin command line"), "flow": "device", "scopes": "admin",
			})
		}},
		{"source_linked", []string{"model_created", "user.created"}, func() object {
			r := newBrowser(w.server).comeBy(w.provider, someone("olga", "olga@example.com", "staff"), "company", "/", from...)
			if r.status != http.StatusOK {
				w.t.Fatalf("coming back: %d %s", r.status, clip(r.body))
			}
			w.request = asked("GET", "/sign-in/oidc/company/callback")
			w.request["args"] = object{"query": looks(`code=\*{20}&state=\*{20}`)}
			olga := who(0, "olga")
			olga["pk"] = jsonNumber(w.one(`type == "source_linked"`)["authid"])
			return w.audited("identity", olga, object{"source": model("oidcsource", "company", "company")})
		}},
		{"impersonation_started", nil, func() object {
			acting = text(w.act("POST", "/v1/users/"+w.ann+"/impersonate", w.boss, "", 200)["token"])
			return w.audited("identity", w.actor(), object{"to": object{"pk": w.ann, "username": "ann", "email": "anne@example.com"}})
		}},
		{"impersonation_ended", nil, func() object {
			w.act("DELETE", "/v1/users/"+w.ann+"/impersonate", acting, "", 204)
			return w.audited("identity", w.actor(), object{"to": object{"pk": w.ann, "username": "ann", "email": "anne@example.com"}})
		}},
	}
}

// actor is the administrator who acts as ann.
func (w *stage) actor() object {
	both := who(1, "admin")
	both["on_behalf_of"] = object{"pk": jsonNumber(w.ann), "email": "", "username": ""}
	return both
}

// changes are seed 003's acts upon what is configured.
func (w *stage) changes() []act {
	var group, role string
	return []act{
		{"model_created", nil, func() object {
			group = text(w.act("POST", "/v1/groups", w.boss, `{"name":"operations"}`, 201)["id"])
			return w.audited("state", theAdmin, object{
				"model": model("group", group, "operations"), "diff": object{"name": object{"previous_value": nil, "new_value": "operations"}},
			})
		}},
		{"model_updated", nil, func() object {
			w.act("PATCH", "/v1/users/"+w.ann, w.boss, `{"groups":["`+group+`"]}`, 200)
			return w.audited("state", theAdmin, object{
				"model": model("user", w.ann, "ann"),
				"diff":  object{"groups": object{"add": []any{object{"pk": group, "name": "operations"}}, "remove": []any{}}},
			})
		}},
		{"model_deleted", nil, func() object {
			role = text(w.act("POST", "/v1/roles", w.boss, `{"name":"auditor","scopes":["read"]}`, 201)["id"])
			w.act("DELETE", "/v1/roles/"+role, w.boss, "", 204)
			return w.audited("state", theAdmin, object{
				"model": model("role", role, "auditor"),
				"diff": object{
					"name":   object{"previous_value": "auditor", "new_value": nil},
					"scopes": object{"previous_value": []any{"read"}, "new_value": nil},
				},
			})
		}},
	}
}

// anException is a failure as a structure, of some type and text.
func anException(message form) object {
	frame := object{"file": something, "line": aNumber{}, "function": something}
	return object{"type": something, "message": message, "frames": each{frame}}
}

// withCause is an exception that wraps another with the same text.
func withCause(x object) object {
	x["cause"] = object{"type": something, "message": x["message"], "frames": []any{}}
	return x
}

// system are the acts that go wrong, and those that nobody asks for.
func (w *stage) system() []act {
	return []act{
		{"email_sent", []string{"user.password.reset.requested"}, func() object {
			w.box.next(w.t, "anne@example.com") // the one that verifies the address
			w.act("POST", "/v1/users/"+w.ann+"/password-reset", w.boss, "", 202)
			l := w.box.next(w.t, "anne@example.com")
			e := w.audited("mail", theAdmin, object{
				"subject": l.subject, "body": strings.ReplaceAll(l.text, l.token(w.t), masked), "from_email": "tocsin@example.com",
				"to_email": []any{"anne@example.com"}, "to": []any{"anne@example.com"},
			})
			delete(e["context"].(object), "http_request") // which asked for the act, not for the mail
			return e
		}},
		{"configuration_error", nil, func() object {
			w.configure("log: {level: loud}")
			w.act("POST", "/v1/reload", w.boss, "", 400)
			w.configure("")
			message := looks(`the configuration is not reloaded: .*"loud" is unknown.*`)
			return w.audited("server", theAdmin, object{"message": message, "exception": anException(looks(`.*"loud" is unknown.*`))})
		}},
		{"system_exception", nil, func() object {
			w.alter("ALTER TABLE sessions RENAME TO sessions_gone")
			w.act("GET", "/v1/users/1/sessions", w.token, "", 500)
			w.alter("ALTER TABLE sessions_gone RENAME TO sessions")
			message := looks(`.*no such table: sessions.*`)
			token := object{"pk": "token/1", "email": "", "username": looks("test-.*")}
			return w.audited("server", token, object{"message": message, "exception": withCause(anException(message))})
		}},
		{"system_task_exception", nil, func() object {
			w.alter("ALTER TABLE facts RENAME TO facts_gone")
			w.await(`type == "system_task_exception"`)
			w.alter("ALTER TABLE facts_gone RENAME TO facts")
			return unasked("server", itself, object{
				"message":   looks(`the source license has failed: .*no such table: facts.*`),
				"exception": withCause(anException(looks(`.*no such table: facts.*`))),
			})
		}},
		{"update_available", nil, func() object {
			release := `{"version":"999.0.0","changelog":"https://releases.example/999"}`
			w.release.Store(&release)
			w.act("POST", "/v1/reload", w.boss, "", 200)
			return unasked("updates", itself, object{"new_version": "999.0.0", "changelog": "https://releases.example/999"})
		}},
		{"license.invalid", nil, func() object {
			w.license(w.t, terms+"x")
			return licensed("the signature of the licence is wrong")
		}},
		{"license.valid", nil, func() object {
			w.license(w.t, terms)
			return licensed("the licence is valid")
		}},
	}
}

// licensed is what seed 001 says of a licence.
func licensed(msg string) object {
	return object{
		"id": anID, "time": milliTime, "source": "http://tocsin.example/license", "specversion": "1.0", "datacontenttype": jsonMedia,
		"data": object{"msg": msg},
	}
}
