package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pquerna/otp/totp"
)

// journey is a server with people on it, whose acts are compared with the seeds.
type journey struct {
	*server
	after string // sequence behind which the next act's events lie
}

// send sends JSON, with a token in place of the server's where one is given.
func (s *server) send(method, path, token, body string, headers ...string) reply {
	s.t.Helper()
	if body != "" {
		headers = append(headers, "Content-Type", jsonMedia)
	}
	if token != "" {
		headers = append(headers, "Authorization", "Bearer "+token)
	}
	return s.request(method, path, strings.NewReader(body), headers...)
}

// want checks a status and decodes the answer.
func (r reply) want(t *testing.T, status int) object {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, clip(r.body))
	}
	if len(r.body) == 0 {
		return nil
	}
	return parse[object](t, r.body)
}

// session signs a user in.
func (s *server) session(username, password string) string {
	s.t.Helper()
	return text(s.signIn(username, password).want(s.t, http.StatusOK)["token"])
}

// user makes a user and returns the id.
func (s *server) user(name, level string) string {
	s.t.Helper()
	made := s.send(http.MethodPost, "/v1/users", "", `{"username":"`+name+`","name":"`+strings.ToUpper(name)+`","email":"`+name+`@example.com","password":"`+password+`","access_level":"`+level+`"}`).want(s.t, http.StatusCreated)
	return text(made["id"])
}

// mark forgets what was recorded so far.
func (j *journey) mark() {
	j.t.Helper()
	found := j.find("limit", "1")
	if len(found.Events) > 0 {
		j.after = text(found.Events[0]["sequence"])
	}
}

// raised are the events since mark, in order.
func (j *journey) raised() []object {
	j.t.Helper()
	var all []object
	for _, e := range slices.Backward(j.find("limit", "100").Events) {
		if text(e["sequence"]) > j.after {
			all = append(all, e)
		}
	}
	return all
}

// wantSet compares the types raised since mark; all must share a correlationid
// and be appended together.
func (j *journey) wantSet(types ...string) map[string]object {
	j.t.Helper()
	byType, got := map[string]object{}, []string(nil)
	for _, e := range j.raised() {
		got = append(got, text(e["type"]))
		byType[text(e["type"])] = e
		if e["recordedtime"] != j.raised()[0]["recordedtime"] || len(types) > 1 && e["correlationid"] != j.raised()[0]["correlationid"] {
			j.t.Errorf("%v is not of one act with %v", e, j.raised()[0])
		}
	}
	slices.Sort(got)
	slices.Sort(types)
	if diff := cmp.Diff(types, got); diff != "" {
		j.t.Errorf("events of the act: %s", diff)
	}
	return byType
}

// wantUser compares the significant view of a user event with the seed's, field
// by field.
func (j *journey) wantUser(e object, id, email, byID, byEmail, message string) {
	j.t.Helper()
	r := j.get("/v1/events/"+text(e["sequence"])+"?view=significant").want(j.t, http.StatusOK)
	if diff := cmp.Diff([]string{"data", "datacontenttype", "id", "source", "specversion", "time", "type"}, slices.Sorted(maps.Keys(r))); diff != "" {
		j.t.Errorf("members: %s", diff)
	}
	if !strings.HasSuffix(text(r["source"]), "/auth-microservice") {
		j.t.Errorf("source %v", r["source"])
	}
	want := object{"userId": id, "userEmail": email, "loggedInUserId": byID, "loggedInUserEmail": byEmail, "message": message}
	if diff := cmp.Diff(want, r["data"]); diff != "" {
		j.t.Errorf("%v: %s", e["type"], diff)
	}
	if e["subject"] != "user/"+id {
		j.t.Errorf("subject %v", e["subject"])
	}
}

// TestUserActs does each act of seed 002's user.* over HTTP, as a signed-in
// administrator, and compares the whole set of events with the seed's shape.
func TestUserActs(t *testing.T) {
	t.Parallel()
	j := &journey{server: start(t)}
	boss := j.session("admin", password)
	j.send(http.MethodPatch, "/v1/users/me", boss, `{"email":"admin@example.com","current_password":"`+password+`"}`).want(t, http.StatusOK)
	j.mark()
	made := j.send(http.MethodPost, "/v1/users", boss, `{"username":"ann","name":"Ann","email":"ann@example.com","password":"`+password+`","access_level":"viewer"}`).want(t, http.StatusCreated)
	id := text(made["id"])
	set := j.wantSet("model_created", "user.created")
	j.wantUser(set["user.created"], id, "ann@example.com", "1", "admin@example.com", "New user account created")
	if dig(set["model_created"], "data.diff.password.new_value") != "********************" {
		t.Errorf("the password's hash is told: %v", set["model_created"])
	}
	path := "/v1/users/" + id
	other := j.user("bob", "viewer")
	key := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINNwMHM8lLcve+HMdKmjaanRnkdOE0Sm3ZUxkjv5LTgg ann@host"
	var keyID string
	acts := []struct {
		method, path, body string
		status             int
		significant        string
		email, message     string
		more               []string
	}{
		{"POST", path + "/suspend", `{"reason":"policy violation"}`, 200, "user.suspended", "ann@example.com", "User suspended due to policy violation", []string{"model_updated"}},
		{"POST", path + "/unsuspend", "", 200, "user.unsuspended", "ann@example.com", "User account reactivated", []string{"model_updated"}},
		{"POST", path + "/archive", "", 200, "user.archived", "ann@example.com", "User account archived", []string{"model_updated"}},
		{"POST", path + "/unarchive", "", 200, "user.unarchived", "ann@example.com", "User account restored from archive", []string{"model_updated"}},
		{"PATCH", path, `{"access_level":"admin"}`, 200, "user.access.level.set", "ann@example.com", "User access level changed to Administrator", []string{"model_updated"}},
		{"PATCH", path, `{"access_level":"viewer"}`, 200, "user.access.level.set", "ann@example.com", "User access level changed to Viewer", []string{"model_updated"}},
		{"PATCH", path, `{"password":"another-good-one"}`, 200, "user.credentials.changed", "ann@example.com", "User password updated successfully", []string{"model_updated", "password_set"}},
		{"POST", path + "/password-reset", "", 202, "user.password.reset.requested", "ann@example.com", "Password reset initiated for user", nil},
		{"PATCH", path, `{"email":"new@example.com"}`, 200, "user.email.updated", "new@example.com", "User email address changed from ann@example.com", []string{"model_updated", "user_write"}},
		{"POST", path + "/api-key", "", 200, "user.api.key.regenerated", "new@example.com", "API key regenerated for security purposes", []string{"model_updated"}},
		{"POST", path + "/ssh-keys", `{"name":"laptop","public_key":"` + key + `"}`, 201, "user.ssh.key.created", "new@example.com", "SSH key added to user account", []string{"model_created"}},
		{"DELETE", path + "/ssh-keys/{key}", "", 204, "user.ssh.key.deleted", "new@example.com", "SSH key removed from user account", []string{"model_deleted"}},
		{
			"POST", path + "/delegates", `{"user":"` + other + `"}`, 201, "user.delegate.added", "new@example.com",
			"Parent user ID: " + id + " with email new@example.com added delegate with ID " + other + " with email bob@example.com",
			[]string{"model_created"},
		},
		{"DELETE", path + "/delegates/" + other, "", 204, "user.delegate.removed", "new@example.com", "Delegate access revoked from user", []string{"model_deleted"}},
	}
	for _, act := range acts {
		j.mark()
		r := j.send(act.method, strings.ReplaceAll(act.path, "{key}", keyID), boss, act.body)
		answer := r.want(t, act.status)
		if act.significant == "user.ssh.key.created" {
			keyID = text(answer["id"])
		}
		set := j.wantSet(append([]string{act.significant}, act.more...)...)
		if e := set[act.significant]; e != nil {
			j.wantUser(e, id, act.email, "1", "admin@example.com", act.message)
		}
	}
	// The rest of the states: what is so already is a conflict and no event.
	j.mark()
	j.send("POST", path+"/unsuspend", boss, "").wantProblem(t, http.StatusConflict)
	j.send("POST", path+"/unarchive", boss, "").wantProblem(t, http.StatusConflict)
	j.wantSet()
}

// jsonOf is a value as JSON.
func jsonOf(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestTwoFactor turns one-time passwords on and off, and signs in with them.
func TestTwoFactor(t *testing.T) {
	t.Parallel()
	j := &journey{server: start(t)}
	id := j.user("ann", "operator")
	ann := j.session("ann", password)
	path := "/v1/users/" + id + "/totp"
	seed := text(j.send("POST", path, ann, "").want(t, 200)["secret"])
	j.send("POST", path, "", "").wantProblem(t, http.StatusForbidden) // nobody does it for another
	j.signIn("ann", password).want(t, 200)                            // it does not count yet
	j.send("POST", path+"/confirm", ann, `{"otp":"000000"}`).wantProblem(t, http.StatusBadRequest)
	j.mark()
	now := time.Now()
	code, err := totp.GenerateCode(seed, now)
	if err != nil {
		t.Fatal(err)
	}
	codes := j.send("POST", path+"/confirm", ann, `{"otp":"`+code+`"}`).want(t, 200)["recovery_codes"].([]any)
	set := j.wantSet("user.2fa.enabled", "model_updated")
	j.wantUser(set["user.2fa.enabled"], id, "ann@example.com", id, "ann@example.com", "Two-factor authentication enabled")
	if len(codes) != 10 {
		t.Errorf("recovery codes: %v", codes)
	}
	with := func(otp string) reply {
		return j.post("/v1/auth/token", jsonMedia, `{"username":"ann","password":"`+password+`","otp":"`+otp+`"}`, "Authorization", "")
	}
	j.mark()
	if p := with("").wantProblem(t, 401); p["type"] != "urn:tocsin:problem:otp-required" {
		t.Errorf("without a code: %v", p)
	}
	j.wantSet() // the password was right: a step, no failure
	with(code).wantProblem(t, 401)
	set = j.wantSet("auth.error", "login_failed")
	if dig(set["login_failed"], "data.stage.name") != "totp" {
		t.Errorf("a code that was used: %v", set["login_failed"])
	}
	next, err := totp.GenerateCode(seed, now.Add(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	j.mark()
	with(next).want(t, 200)
	set = j.wantSet("auth.ok", "login")
	if devices, ok := dig(set["login"], "data.auth_method_args.mfa_devices").([]any); !ok || len(devices) != 1 || dig(devices[0], "model_name") != "totp" {
		t.Errorf("login: %v", set["login"])
	}
	with(strings.ToUpper(text(codes[3]))).want(t, 200)
	with(text(codes[3])).wantProblem(t, 401)
	if left := j.send("GET", path, ann, "").want(t, 200); text(left["recovery_codes_left"]) != "9" || left["enabled"] != true {
		t.Errorf("%v", left)
	}
	j.mark()
	j.send("DELETE", path, ann, "").want(t, 204)
	set = j.wantSet("user.2fa.disabled", "model_updated")
	j.wantUser(set["user.2fa.disabled"], id, "ann@example.com", id, "ann@example.com", "Two-factor authentication disabled")
	j.signIn("ann", password).want(t, 200)
	for _, e := range j.find("limit", "200").Events {
		for _, secret := range []string{seed, text(codes[0]), code} {
			if raw := strings.ToLower(jsonOf(t, e)); strings.Contains(raw, `"`+strings.ToLower(secret)+`"`) {
				t.Errorf("%v tells a secret", e["type"])
			}
		}
	}
}

// TestAuditShapes compares the audit view of each action with the members of
// seed 003's example of it.
func TestAuditShapes(t *testing.T) {
	t.Parallel()
	j := &journey{server: start(t)}
	boss := j.session("admin", password)
	j.signIn("admin", "wrong-password")
	j.send("PATCH", "/v1/users/1", boss, `{"name":"The Administrator"}`).want(t, 200)
	ann := j.user("ann", "viewer")
	j.send("PATCH", "/v1/users/"+ann, boss, `{"password":"another-good-one"}`).want(t, 200)
	token := text(j.send("POST", "/v1/users/"+ann+"/impersonate", boss, "").want(t, 200)["token"])
	j.send("DELETE", "/v1/users/"+ann+"/impersonate", token, "").want(t, 204)
	j.send("POST", "/v1/auth/logout", boss, "").want(t, 204)
	for action, context := range map[string][]string{
		"login":                 {"auth_method", "auth_method_args", "http_request"},
		"login_failed":          {"http_request", "password", "reason", "stage", "username"},
		"logout":                {"http_request", "reason"},
		"user_write":            {"attributes", "created", "email", "http_request", "name", "username"},
		"password_set":          {"http_request", "user"},
		"model_updated":         {"diff", "http_request", "model"},
		"impersonation_started": {"http_request", "to"},
		"impersonation_ended":   {"http_request", "to"},
	} {
		found := j.find("filter", `type == "`+action+`"`, "view", "audit", "limit", "1").Events
		if len(found) != 1 {
			t.Errorf("%s was not raised", action)
			continue
		}
		e := found[0]
		if diff := cmp.Diff([]string{"action", "app", "brand", "client_ip", "context", "created", "expires", "pk", "user"}, slices.Sorted(maps.Keys(e))); diff != "" {
			t.Errorf("%s: %s", action, diff)
		}
		if diff := cmp.Diff(context, slices.Sorted(maps.Keys(e["context"].(object)))); diff != "" {
			t.Errorf("%s: context: %s", action, diff)
		}
		for _, name := range []string{"args.query", "method", "path", "request_id", "user_agent"} {
			if dig(e, "context.http_request."+name) == nil {
				t.Errorf("%s: http_request has no %s", action, name)
			}
		}
		if e["client_ip"] != "127.0.0.1" || e["action"] != action {
			t.Errorf("%s: %v", action, e)
		}
		if action == "login_failed" {
			if e["app"] != "tocsin.identity" || dig(e, "user.username") != "AnonymousUser" || dig(e, "context.password") != "********************" {
				t.Errorf("login_failed: %v", e)
			}
		} else if dig(e, "user.username") != "admin" || text(dig(e, "user.pk")) != "1" {
			t.Errorf("%s: user %v", action, e["user"])
		}
	}
}
