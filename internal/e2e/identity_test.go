package e2e

import (
	"encoding/json"
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

// wantWho compares who a user event says it happened to, and who did it.
func (j *journey) wantWho(e object, id, email, byID, byEmail string) {
	j.t.Helper()
	want := object{"userId": id, "userEmail": email, "loggedInUserId": byID, "loggedInUserEmail": byEmail, "message": something}
	for _, problem := range unlike("data", want, e["data"]) {
		j.t.Errorf("%v: %s", e["type"], problem)
	}
	if e["subject"] != "user/"+id {
		j.t.Errorf("subject %v", e["subject"])
	}
}

// TestRepeatedStates: what is so already is a conflict, and leaves no event.
func TestRepeatedStates(t *testing.T) {
	t.Parallel()
	j := &journey{server: start(t)}
	path := "/v1/users/" + j.user("ann", "viewer")
	if e := j.one(`type == "model_created" && data.model.name == "ann"`); dig(e, "data.diff.password.new_value") != masked {
		t.Errorf("the password's hash is told: %v", e)
	}
	j.mark()
	j.send("POST", path+"/unsuspend", "", "").wantProblem(t, http.StatusConflict)
	j.send("POST", path+"/unarchive", "", "").wantProblem(t, http.StatusConflict)
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
	j.wantSet("user.2fa.enabled", "model_updated")
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
	set := j.wantSet("auth.error", "login_failed")
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
	j.wantWho(set["user.2fa.disabled"], id, "ann@example.com", id, "ann@example.com")
	j.signIn("ann", password).want(t, 200)
	for _, e := range j.find("limit", "200").Events {
		for _, secret := range []string{seed, text(codes[0]), code} {
			if raw := strings.ToLower(jsonOf(t, e)); strings.Contains(raw, `"`+strings.ToLower(secret)+`"`) {
				t.Errorf("%v tells a secret", e["type"])
			}
		}
	}
}
