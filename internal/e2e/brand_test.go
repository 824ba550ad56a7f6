package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// TestBrands maps host names to brands: pages look like theirs, and what comes in
// under them carries their name, whatever the sender says.
func TestBrands(t *testing.T) {
	s := start(t, "trusted_proxies: [127.0.0.0/8]", "networks: [{cidr: 10.0.0.0/8, label: the company}]")
	const logo = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4="
	r := s.post("/v1/brands", jsonMedia, `{"name":"acme","title":"Acme events","hosts":["status.acme.example","*.acme.example"],"logo":"`+logo+`","colours":{"accent":"#8a1f5f"}}`)
	if r.status != http.StatusCreated {
		t.Fatalf("adding: %d %s", r.status, clip(r.body))
	}
	at := r.header.Get("Location")
	for body, want := range map[string]string{
		`{"name":"Acme"}`:                                     "name",
		`{"name":"x","hosts":["https://x"]}`:                  "not a host name",
		`{"name":"x","hosts":["status.acme.example"]}`:        "belongs to the brand acme",
		`{"name":"x","colours":{"accent":"#ffff00"}}`:         "contrast",
		`{"name":"x","colours":{"accent":"red;} body{"}}`:     "not a colour",
		`{"name":"x","logo":"data:text/html;base64,PGI+"}`:    "data URL",
		`{"name":"x","logo":"https://evil.example/logo.png"}`: "data URL",
	} {
		if r := s.post("/v1/brands", jsonMedia, body); r.status < 400 || r.status >= 500 || !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %d %s", body, r.status, clip(r.body))
		}
	}
	b := newBrowser(s)
	for host, want := range map[string]bool{"status.acme.example": true, "eu.ACME.example:7722": true, "acme.example": false, "evil-acme.example": false} {
		page := string(b.do(http.MethodGet, "/sign-in", "", "X-Forwarded-Host", host).body)
		style := string(b.do(http.MethodGet, "/brand.css", "", "X-Forwarded-Host", host).body)
		if strings.Contains(page, "Acme events") != want || strings.Contains(style, "#8a1f5f") != want {
			t.Errorf("%s looks like the brand: %v", host, !want)
		}
	}
	image := b.do(http.MethodGet, "/brand-logo", "", "X-Forwarded-Host", "status.acme.example")
	if image.status != http.StatusOK || image.header.Get("Content-Type") != "image/svg+xml" || !strings.Contains(image.header.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("the logo: %d %v", image.status, image.header)
	}
	s.post("/v1/events", eventMedia, `{"specversion":"1.0","id":"b1","source":"/x","type":"t","brand":"forged","clientip":"10.1.2.3"}`, "X-Forwarded-Host", "status.acme.example")
	s.post("/v1/events", eventMedia, `{"specversion":"1.0","id":"b2","source":"/x","type":"t","brand":"forged"}`)
	if e := s.one(`id == "b1"`); e["brand"] != "acme" || e["asorg"] != "the company" || e["asnetwork"] != "10.0.0.0/8" {
		t.Errorf("an event under the brand: %v", e)
	}
	if e := s.one(`id == "b2"`); e["brand"] != nil {
		t.Errorf("an event elsewhere has the brand %v", e["brand"])
	}
	if r := s.request(http.MethodPatch, at, strings.NewReader(`{"hosts":["other.example"]}`), "Content-Type", "application/merge-patch+json"); r.status != http.StatusOK || parse[object](t, r.body)["title"] != "Acme events" {
		t.Errorf("changing: %d %s", r.status, clip(r.body))
	}
	if page := string(b.do(http.MethodGet, "/sign-in", "", "X-Forwarded-Host", "status.acme.example").body); strings.Contains(page, "Acme events") {
		t.Error("the old host name still has the brand")
	}
	if r := s.request(http.MethodDelete, at, nil); r.status != http.StatusNoContent {
		t.Errorf("removing: %d", r.status)
	}
}
