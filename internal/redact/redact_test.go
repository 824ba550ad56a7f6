package redact_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
	"github.com/tocsin-events/tocsin/internal/redact"
)

func TestKey(t *testing.T) {
	secret := []string{
		"password", "PASSWORD", "passwd", "pwd", "secret", "secrets", "token", "tokens", "api_key", "apikey", "apiKey", "apiKeys", "API-KEY", "X-Api-Key",
		"authorization", "Proxy-Authorization", "cookie", "Set-Cookie", "cookies", "session_id", "sessionid", "sessionId", "otp", "pin", "jwt", "bearer",
		"credential", "credentials", "private_key", "privateKey", "signature", "X-Hub-Signature-256", "db_password", "dbPassword", "dbpassword", "password2",
		"client_secret", "clientSecret", "refresh_token", "id_token", "HTTPCookie", "user.password", "userpassword", "new-password", "secret_access_key",
	}
	for _, key := range secret {
		if !redact.Key(key) {
			t.Errorf("Key(%q) = false: a secret would be shown", key)
		}
	}
	harmless := []string{
		"keyboard", "author", "authors", "compass", "passport", "capital", "password_change_date", "auth_method", "passwordChangedAt", "token_type", "token_count",
		"cookie_name", "monkey", "key", "keys", "spin", "pinned", "opinion", "shipping", "secretary", "tokenizer", "bypass", "passing", "host", "id", "public_key", "",
		"authentication", "authorized", "assignature", "design", "jwtless", "credit", "partition_key", "session", "description",
	}
	for _, key := range harmless {
		if redact.Key(key) {
			t.Errorf("Key(%q) = true: it is no secret", key)
		}
	}
}

func TestText(t *testing.T) {
	const m = redact.Mask
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
	tests := map[string]string{
		"nothing to see here":                         "nothing to see here",
		"Authorization: Bearer abc.def-123":           "Authorization: " + m,
		"curl -H 'X-Api-Key: k123' https://x.example": "curl -H 'X-Api-Key: " + m,
		"sent Basic dXNlcjpwYXNz to it":               "sent Basic " + m + " to it",
		"basic authentication failed":                 "basic authentication failed",
		"bearer of bad news":                          "bearer of bad news",
		"BEARER abcdef123456":                         "BEARER " + m,
		"postgres://app:hunter2@db/x?sslmode=require": "postgres://" + m + "@db/x?sslmode=require",
		"https://x.example/?token=abc&page=2":         "https://x.example/?token=" + m + "&page=2",
		"https://x.example/a?b=c#d":                   "https://x.example/a?b=c#d",
		"mail me@x.example about http://x.example":    "mail me@x.example about http://x.example",
		"the token " + jwt + " was used":              "the token " + m + " was used",
		"eyJust a word":                               "eyJust a word",
		"mysqldump --password=hunter2 --host=db":      "mysqldump --password=" + m + " --host=db",
		`{"user":"a","password":"hunter2","x":1}`:     `{"user":"a","password":"` + m + `","x":1}`,
		`{"pin": 1234, "x": 1}`:                       `{"pin": ` + m + `, "x": 1}`,
		`{\"password\":\"hunter2\",\"x\":1}`:          `{\"password\":\"` + m + `\",\"x\":1}`,
		"PASSWORD='two words' next":                   "PASSWORD='" + m + "' next",
		"Cookie: a=b; session=c\nHost: x":             "Cookie: " + m + "\nHost: x",
		"invalid token: unexpected end":               "invalid token: unexpected end",
		"author=me keyboard=de":                       "author=me keyboard=de",
		"-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nrest": m + "\nrest",
		"-----BEGIN OPENSSH PRIVATE KEY-----\ncut off":                              m,
		"-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----":               "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----",
		"ssh://user@host:22/x":   "ssh://" + m + "@host:22/x",
		"password=":              "password=",
		"a=b; csrf_token=xyz; c": "a=b; csrf_token=" + m + "; c",
	}
	for in, want := range tests {
		if got := redact.Text(in); got != want {
			t.Errorf("Text(%q)\n got %q\nwant %q", in, got, want)
		}
		if again := redact.Text(redact.Text(in)); again != want {
			t.Errorf("Text of Text(%q) = %q, want %q", in, again, want)
		}
	}
}

func TestJSON(t *testing.T) {
	const m = `"` + redact.Mask + `"`
	tests := map[string]string{
		`{"a":1,"keyboard":"de","list":[0,"",false,null]}`: `{"a":1,"keyboard":"de","list":[0,"",false,null]}`,
		`{"password":"x"}`: `{"password":` + m + `}`,
		`{"password": "a much longer secret", "a" : 1 }`: `{"password": ` + m + `, "a" : 1 }`,
		`{"db":{"password":{"old":"x","new":["y"]}}}`:    `{"db":{"password":` + m + `}}`,
		`{"tokens":["a","b"],"n":2}`:                     `{"tokens":` + m + `,"n":2}`,
		`{"pin":1234,"otp":true,"secret":null}`:          `{"pin":` + m + `,"otp":` + m + `,"secret":null}`,
		`["password","token"]`:                           `["password","token"]`,
		`{"p\u0061ssword":"x"}`:                          `{"p\u0061ssword":` + m + `}`,
		`{"url":"https://a:b@c.example/\u003ftoken=x"}`:  `{"url":"https://` + redact.Mask + `@c.example/?token=` + redact.Mask + `"}`,
		`{"diff":{"password":{"previous_value":"a","new_value":"b"},"name":{"previous_value":"c","new_value":"d"}}}`: `{"diff":{"password":{"previous_value":` + m + `,"new_value":` + m + `},"name":{"previous_value":"c","new_value":"d"}}}`,
		`{"diff":{"password":{"previous_value":null,"new_value":"b"}}}`:                                              `{"diff":{"password":{"previous_value":null,"new_value":` + m + `}}}`,
		`{"exception":{"message":"connect postgres://u:p@h","frames":[{"line":1,"function":"token=abc"}]}}`:          `{"exception":{"message":"connect postgres://` + redact.Mask + `@h","frames":[{"line":1,"function":"token=` + redact.Mask + `"}]}}`,
		`"Bearer abcdef123"`: `"Bearer ` + redact.Mask + `"`,
	}
	for in, want := range tests {
		if got := string(redact.JSON([]byte(in), nil)); got != want {
			t.Errorf("JSON(%s)\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestSecrecyOverrides(t *testing.T) {
	secrecy := func(name []byte) (bool, bool) {
		switch string(name) {
		case "signature":
			return false, true
		case "note":
			return true, true
		}
		return false, false
	}
	got := string(redact.JSON([]byte(`{"signature":"Eicar","note":"n","token":"t","deep":{"signature":"s"}}`), secrecy))
	want := strings.ReplaceAll(`{"signature":"Eicar","note":"M","token":"M","deep":{"signature":"M"}}`, "M", redact.Mask)
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEvent(t *testing.T) {
	e := event.Event{
		Source: "https://u:p@x.example/s", Subject: "run --token=abc", AuthName: "Ann",
		Extensions: []event.Attribute{{Name: "apikey", Value: "k"}, {Name: "note", Value: "password=x"}},
	}
	redact.Event(&e, nil)
	want := event.Event{
		Source: "https://" + redact.Mask + "@x.example/s", Subject: "run --token=" + redact.Mask, AuthName: "Ann",
		Extensions: []event.Attribute{{Name: "apikey", Value: redact.Mask}, {Name: "note", Value: "password=" + redact.Mask}},
	}
	if e.Source != want.Source || e.Subject != want.Subject || e.AuthName != want.AuthName || e.Extensions[0] != want.Extensions[0] || e.Extensions[1] != want.Extensions[1] {
		t.Errorf("got %+v, want %+v", e, want)
	}
}

// FuzzJSON plants a secret in arbitrary JSON and looks for it afterwards; what
// comes out is JSON again, and masking twice changes nothing.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,"x=y",{"password":"p"}]}`))
	f.Add([]byte(`{"u":"https://a:b@c/?token=x","h":"Cookie: a=b"}`))
	f.Add([]byte(`{"password":{"previous_value":[1],"new_value":{}}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if scan.Valid(in) != nil {
			return
		}
		const planted = "pl4nted-s3cret"
		doc := append(append([]byte(`{"client_secret":"`+planted+`","inner":`), in...), '}')
		if scan.Valid(doc) != nil { // the fuzzed part was at the limit of depth
			return
		}
		out := redact.JSON(doc, nil)
		if !json.Valid(out) {
			t.Fatalf("%s became %s", doc, out)
		}
		if strings.Contains(string(out), planted) && !strings.Contains(string(in), planted) {
			t.Fatalf("the secret is in %s", out)
		}
		if again := redact.JSON(out, nil); string(again) != string(out) {
			t.Fatalf("masked twice: %s, once: %s", again, out)
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	data := []byte(`{"name":"nightly","tool":"restic","exit_status":3,"duration_ms":48211,"bytes":1073741824,"files":20311,"snapshot":"4f1d2c3b4a5968778695a4b3c2d1e0ff","error":"repository is already locked by process 4711 on web-17 by root","output":"open repository\nlock repository\nunable to create lock in backend: repository is already locked","labels":["nightly","offsite"]}`)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		redact.JSON(data, nil)
	}
}
