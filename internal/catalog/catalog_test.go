package catalog_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestContract guards what outsiders rely on: a change shows as a difference of
// the golden file, which is what a reviewer reads.
func TestContract(t *testing.T) {
	var b strings.Builder
	count := map[event.Kind]int{}
	for _, e := range catalog.New().All() {
		count[e.Kind]++
		fmt.Fprintf(&b, "%s %s %s %s", e.Type, e.Kind, e.Severity, e.Producer)
		if e.Transient {
			b.WriteString(" transient")
		}
		b.WriteString("\n")
		for _, f := range e.Fields {
			fmt.Fprintf(&b, "\t%s %s", f.Name, f.Type)
			if f.Required {
				b.WriteString(" required")
			}
			if f.Secret != nil {
				fmt.Fprintf(&b, " secret=%v", *f.Secret)
			}
			b.WriteString("\n")
		}
	}
	want := map[event.Kind]int{event.KindHost: 15, event.KindSys: 17, event.KindSignificant: 41, event.KindAudit: 24, event.KindCustom: 21} // custom: in no seed
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("types of the seeds: %s", diff)
	}
	golden(t, "catalog.golden", b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the contract has changed; if that is meant, run go test -update and read the difference:\n%s", diff)
	}
}

// TestSeedFields compares families with the seeds' own lists of fields.
func TestSeedFields(t *testing.T) {
	flow := []string{"flow_id", "flow_name", "inputs", "outputs", "duration_ms", "ok", "error"}
	status := []string{"status", "status_msg"}
	schedule := append(append([]string{"schedule_id", "schedule_name"}, flow...), status...)
	onEvent := append(append([]string{"trigger_id", "trigger_name", "trigger_priority"}, flow...), append([]string{"event_id", "event_type"}, status...)...)
	user := []string{"userId", "userEmail", "loggedInUserId", "loggedInUserEmail", "message"}
	want := map[event.Type][]string{
		"auth.ok": {"username", "ip", "exp"}, "auth.error": {"username", "ip", "reason"}, "auth.renew": {"username", "ip", "exp"},
		"server.shutdown": {"reason"}, "license.valid": {"msg"}, "license.invalid": {"msg"},
		"trigger.schedule.ok": schedule, "trigger.schedule.error": schedule, "trigger.event.ok": onEvent, "trigger.event.error": onEvent,
		"trigger.schedule.failed": {"trigger_id", "flow_id", "error"}, "trigger.event.failed": {"trigger_id", "flow_id", "event_id", "error"},
		"trigger.schedule.disabled": {"trigger_id", "flow_id", "reason"}, "trigger.event.disabled": {"trigger_id", "flow_id", "reason"},
		"user.created": user, "user.2fa.disabled": user, "user.delegate.added": user,
		"server.registered":          {"serverId", "serverStatus", "serverTypeId", "siteId", "userId"},
		"server.decommissioned":      {"serverId", "serverUUID", "serverClass", "serverStatus", "serverTypeId"},
		"server.updated":             {"serverId", "userId", "changes"},
		"network.device.deleted":     {"networkDeviceId", "position", "siteId", "identifierString", "userIdAuthenticated"},
		"instance.array.dns.updated": {"instanceArrayId", "infrastructureId", "dnsRecords", "userIdAuthenticated"},
		"server.health.state.degraded": {
			"serverId", "siteId", "datacenterName", "previousState", "newState", "healthDetails", "infrastructureId", "instanceId",
			"monitoringAgentPrompted", "monitoringAgentResult",
		},
	}
	c := catalog.New()
	for typ, names := range want {
		e, ok := c.Get(typ)
		if !ok {
			t.Errorf("%s is not in the catalog", typ)
			continue
		}
		var got []string
		for _, f := range e.Fields {
			got = append(got, f.Name)
		}
		if diff := cmp.Diff(names, got); diff != "" {
			t.Errorf("fields of %s: %s", typ, diff)
		}
	}
	for _, typ := range []event.Type{"trigger.schedule.sync", "trigger.event.sync"} {
		if e, _ := c.Get(typ); !e.Transient {
			t.Errorf("%s is not transient", typ)
		}
	}
}

func TestCheck(t *testing.T) {
	c := catalog.New()
	tests := []struct{ typ, data, says string }{
		{"disk_full", `{"path":"/","used_percent":97.5,"more":{"x":1}}`, ""},
		{"disk_full", `{"path":"/","used_bytes":null}`, ""},
		{"disk_full", `{}`, "data.path is missing"},
		{"disk_full", ``, "data.path is missing: the event has no JSON data"},
		{"disk_full", `[]`, "data must be a JSON object"},
		{"disk_full", `{"path":7}`, "data.path must be of type string"},
		{"disk_full", `{"path":null}`, "data.path must be of type string"},
		{"disk_full", `{"path":"/","used_bytes":1.5}`, "data.used_bytes must be of type integer"},
		{"disk_full", `{"path":"/","used_percent":"97"}`, "data.used_percent must be of type number"},
		{"domain_expiry", `{"domain":"x","not_after":"soon"}`, "data.not_after must be an RFC 3339 time"},
		{"domain_expiry", `{"domain":"x","expired":"no"}`, "data.expired must be of type boolean"},
		{"cert_renew", `{"domain":"x","domains":["a",1]}`, "data.domains must be of type string[]"},
		{"cert_renew", `{"domain":"x","domains":["a",["b"]]}`, "data.domains must be of type string[]"},
		{"crowdsec_spike", `{"decisions":60,"top_scenarios":[{"name":"x","count":1}]}`, ""},
		{"crowdsec_spike", `{"decisions":60,"top_scenarios":["x"]}`, "must be of type object[]"},
		{"server.deleted", `{"serverId":7,"serverUUID":"u","serverClass":"c","serverStatus":"s"}`, ""},
		{"auth.ok", `{"username":7,"ip":"::1","exp":1}`, "data.username must be of type string"},
		{"server.ready", `"anything"`, "data must be a JSON object"},
		{"made_up", `{}`, `type "made_up" is not in the catalog`},
	}
	for _, tt := range tests {
		e := event.Event{Type: event.Type(tt.typ)}
		if tt.data != "" {
			e.Data = []byte(tt.data)
		}
		got := ""
		if m := c.Check(&e); m != nil {
			got = m.Error()
		}
		if !strings.Contains(got, tt.says) || (tt.says == "") != (got == "") {
			t.Errorf("Check(%s %s) = %q, want %q", tt.typ, tt.data, got, tt.says)
		}
	}
}

func TestCustom(t *testing.T) {
	c := catalog.New()
	made, err := c.Custom(catalog.Entry{Type: "shop.order_lost", Severity: event.Error, Description: "An order was lost.", Fields: []catalog.Field{
		{Name: "order", Type: catalog.String, Required: true}, {Name: "note", Type: catalog.String},
	}})
	if err != nil {
		t.Fatal(err)
	}
	c.Put(made)
	if got, ok := c.Get("shop.order_lost"); !ok || got.Kind != event.KindCustom || got.Version != 1 || got.SchemaID() != "urn:tocsin:type:shop.order_lost:1" {
		t.Errorf("Get = %+v, %v", got, ok)
	}
	next := made
	next.Fields = append(next.Fields[:2:2], catalog.Field{Name: "total", Type: catalog.Number})
	if v2, err := c.Custom(next); err != nil || v2.Version != 2 {
		t.Errorf("a version that adds: %+v, %v", v2, err)
	}
	field := func(name string, typ catalog.FieldType, required bool) catalog.Field {
		return catalog.Field{Name: name, Type: typ, Required: required}
	}
	bad := []struct {
		entry catalog.Entry
		class error
		says  string
	}{
		{catalog.Entry{Type: "disk_full", Description: "x"}, event.ErrConflict, "built in"},
		{catalog.Entry{Type: "Bad Name", Description: "x"}, event.ErrInvalid, "lower-case words"},
		{catalog.Entry{Type: "a..b", Description: "x"}, event.ErrInvalid, "lower-case words"},
		{catalog.Entry{Type: "x"}, event.ErrInvalid, "description is missing"},
		{catalog.Entry{Type: "x", Description: "x", Fields: []catalog.Field{field("a", "text", false)}}, event.ErrInvalid, "unknown type"},
		{catalog.Entry{Type: "x", Description: "x", Fields: []catalog.Field{field("a", "string", false), field("a", "string", false)}}, event.ErrInvalid, "twice"},
		{catalog.Entry{Type: "shop.order_lost", Description: "x", Fields: []catalog.Field{field("order", "string", true)}}, event.ErrConflict, `"note" is missing`},
		{catalog.Entry{Type: "shop.order_lost", Description: "x", Fields: []catalog.Field{field("order", "number", true), field("note", "string", false)}}, event.ErrConflict, "was string"},
		{catalog.Entry{Type: "shop.order_lost", Description: "x", Fields: []catalog.Field{field("order", "string", true), field("note", "string", true)}}, event.ErrConflict, "was optional"},
		{catalog.Entry{Type: "shop.order_lost", Description: "x", Fields: []catalog.Field{field("order", "string", true), field("note", "string", false), field("z", "any", true)}}, event.ErrConflict, "can't be required"},
	}
	for _, tt := range bad {
		if _, err := c.Custom(tt.entry); !errors.Is(err, tt.class) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("Custom(%s) = %v, want %q", tt.entry.Type, err, tt.says)
		}
	}
}

func TestMessage(t *testing.T) {
	c := catalog.New()
	tests := []struct{ typ, data, want string }{
		{"disk_full", `{"path":"/home","used_percent":97.5,"threshold_percent":85}`, "/home is 97.5 % full (threshold 85 %)"},
		{"disk_full", `{"path":"/home"}`, "/home is – % full (threshold – %)"},
		{"backup_failed", `{"name":"n","exit_status":3}`, "backup n failed with status 3: no reason given"},
		{"model_created", `{"model":{"model_name":"user","name":"ann"}}`, "root created user ann"},
		{"malware_file_hit", `{"path":"/x\n\u001b[31mred\u202e"}`, "malware in /x  [31mred"},
		{"unknown.type", `{"message":"hello"}`, "hello"},
		{"unknown.type", `{}`, "unknown.type: user/1"},
	}
	for _, tt := range tests {
		e := event.Event{Type: event.Type(tt.typ), Subject: "user/1", AuthName: "root", Data: []byte(tt.data)}
		if got := c.Message(&e); got != tt.want {
			t.Errorf("Message(%s %s) = %q, want %q", tt.typ, tt.data, got, tt.want)
		}
	}
}

// TestSchemas makes sure that every schema is JSON and says what Check enforces.
func TestSchemas(t *testing.T) {
	for _, e := range catalog.New().All() {
		var schema struct {
			Properties map[string]struct{ Type any }
			Required   []string
		}
		if err := json.Unmarshal(e.Schema(), &schema); err != nil {
			t.Fatalf("%s: %v", e.Type, err)
		}
		required := 0
		for _, f := range e.Fields {
			if _, ok := schema.Properties[f.Name]; !ok {
				t.Errorf("%s: the schema lacks %s", e.Type, f.Name)
			}
			if f.Required {
				required++
			}
		}
		if len(schema.Properties) != len(e.Fields) || len(schema.Required) != required {
			t.Errorf("%s: %d properties of %d fields, %d required of %d", e.Type, len(schema.Properties), len(e.Fields), len(schema.Required), required)
		}
	}
}

func TestAuditView(t *testing.T) {
	e := event.Event{
		ID: "f00f54e7", Source: "https://t.example/identity", Type: "login", Time: time.Date(2026, 2, 15, 15, 33, 42, 771091000, time.UTC),
		AuthID: "1", AuthEmail: "root@localhost", AuthName: "akadmin", ClientIP: "::1", ExpiryTime: time.Date(2027, 2, 15, 15, 33, 42, 0, time.UTC),
		Brand: "Default brand", GeoCountry: "DE", GeoCity: "Berlin", GeoContinent: "EU", GeoLat: "52.5", GeoLon: "13.4",
		ASN: "6805", ASOrg: "Telefonica Germany", ASNetwork: "5.4.0.0/14",
		Data: []byte(`{"auth_method":"password","auth_method_args":{},"http_request":{"args":{"query":"next=%2F"},"path":"/","method":"GET"}}`),
	}
	got := view(t, &e, catalog.Audit)
	want := map[string]any{
		"pk": "f00f54e7", "user": map[string]any{"pk": 1.0, "email": "root@localhost", "username": "akadmin"},
		"action": "login", "app": "tocsin.identity", "client_ip": "::1", "created": "2026-02-15T15:33:42.771091Z", "expires": "2027-02-15T15:33:42.000000Z",
		"brand": map[string]any{"pk": "Default brand", "app": "tocsin_brand", "name": "Default brand", "model_name": "brand"},
		"context": map[string]any{
			"auth_method": "password", "auth_method_args": map[string]any{},
			"http_request": map[string]any{"args": map[string]any{"query": "next=%2F"}, "path": "/", "method": "GET"},
			"geo":          map[string]any{"lat": 52.5, "long": 13.4, "city": "Berlin", "country": "DE", "continent": "EU"},
			"asn":          map[string]any{"asn": 6805.0, "as_org": "Telefonica Germany", "network": "5.4.0.0/14"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	e = event.Event{ID: "x", Source: "/s", Type: "t", Data: []byte(`[1]`), ASN: "1"}
	got = view(t, &e, catalog.Audit)
	if diff := cmp.Diff(map[string]any{"data": []any{1.0}, "asn": map[string]any{"asn": 1.0, "as_org": "", "network": ""}}, got["context"]); diff != "" {
		t.Errorf("data that is no object: %s", diff)
	}
	if user := got["user"].(map[string]any); user["username"] != "AnonymousUser" || got["expires"] != nil || got["client_ip"] != nil {
		t.Errorf("nobody: %v", got)
	}
}

func TestSignificantView(t *testing.T) {
	e := event.Event{
		ID: "e-1", Source: "https://metalsoft.io/inventory-microservice", Type: "server.registered", Subject: "server/123",
		Time: time.Date(2025, 1, 1, 12, 0, 0, 999999, time.UTC),
		Data: []byte(`{"serverId": 123,"list":[1, "2"],"ok":true,"none":null,"deep":{"n":-1.5e3},"7":"8"}`),
	}
	got, err := catalog.AppendView(nil, &e, catalog.Significant)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"e-1","time":"2025-01-01T12:00:00.000Z","type":"server.registered","source":"https://metalsoft.io/inventory-microservice",` +
		`"specversion":"1.0","datacontenttype":"application/json","data":{"serverId": "123","list":["1", "2"],"ok":true,"none":null,"deep":{"n":"-1.5e3"},"7":"8"}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func view(t *testing.T, e *event.Event, v catalog.View) map[string]any {
	t.Helper()
	raw, err := catalog.AppendView(nil, e, v)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return got
}

func TestUnknownView(t *testing.T) {
	if _, err := catalog.AppendView(nil, &event.Event{}, "xml"); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("AppendView = %v", err)
	}
}

func BenchmarkCheck(b *testing.B) {
	c := catalog.New()
	e := event.Event{Type: "backup_failed", Data: []byte(`{"name":"nightly","tool":"restic","exit_status":3,"duration_ms":48211,"bytes":1073741824,"files":20311,"snapshot":"4f1d2c3b4a5968778695a4b3c2d1e0ff","error":"repository is already locked","output":"open repository\nlock repository"}`)}
	b.ReportAllocs()
	for b.Loop() {
		if m := c.Check(&e); m != nil {
			b.Fatal(m)
		}
	}
}
