package web

import (
	"net/http"

	"github.com/tocsin-events/tocsin/internal/identity"
)

// route is one line of the table below.
type route struct {
	pattern string
	scope   identity.Scope // open: anybody
	handler handler
	doc     operation
}

// table is every route, on one screen. What it says is also what /openapi.json
// says; operations are described in openapi.go.
func (s *Server) table() []route {
	op := describe()
	const read, emit, admin = identity.Read, identity.Emit, identity.Admin
	return []route{
		{"GET /healthz", open, s.getHealth, op.health},
		{"GET /readyz", open, s.getReady, op.ready},
		{"GET /metrics", open, s.getMetrics, op.metrics},
		{"GET /openapi.json", read, s.getOpenAPI, op.openAPI},

		{"POST /v1/auth/token", open, s.postToken, op.signIn},
		{"POST /v1/auth/renew", read, s.postRenew, op.renew},

		{"POST /v1/events", emit, s.postEvents, op.emit},
		{"OPTIONS /v1/events", emit, s.optionsEvents, op.handshake},
		{"GET /v1/events", read, s.getEvents, op.search},
		{"GET /v1/events/volume", read, s.getVolume, op.volume},
		{"GET /v1/events/tail", read, s.getTail, op.tail},
		{"GET /v1/events/{sequence}", read, s.getEvent, op.event},
		{"PUT /v1/events/{sequence}", read, s.refuseChange, op.immutable},
		{"PATCH /v1/events/{sequence}", read, s.refuseChange, op.immutable},
		{"DELETE /v1/events/{sequence}", read, s.refuseChange, op.immutable},
		{"PUT /v1/events", read, s.refuseChange, op.immutable},
		{"PATCH /v1/events", read, s.refuseChange, op.immutable},
		{"DELETE /v1/events", read, s.refuseChange, op.immutable},

		{"GET /v1/catalog", read, s.getCatalog, op.catalog},
		{"POST /v1/catalog", admin, s.postCatalog, op.addType},
		{"GET /v1/catalog/{type}", read, s.getCatalogEntry, op.oneType},

		{"GET /v1/tokens", admin, s.getTokens, op.tokens},
		{"POST /v1/tokens", admin, s.postTokens, op.addToken},
		{"GET /v1/tokens/{id}", admin, s.getToken, op.token},
		{"PUT /v1/tokens/{id}", admin, s.putToken, op.putToken},
		{"PATCH /v1/tokens/{id}", admin, s.putToken, op.patchToken},
		{"DELETE /v1/tokens/{id}", admin, s.deleteToken, op.dropToken},

		{"GET /v1/sources", read, s.getSources, op.sources},
		{"GET /v1/settings", read, s.getSettings, op.settings},
		{"PATCH /v1/settings", admin, s.patchSettings, op.patchSettings},
		{"POST /v1/reload", admin, s.postReload, op.reload},

		{"GET /v1/journal", read, s.getJournal, op.journal},
		{"GET /v1/journal/heads", admin, s.getHeads, op.heads},
		{"POST /v1/journal/verify", admin, s.postVerify, op.verify},
		{"GET /v1/journal/export", admin, s.getExport, op.export},
		{"POST /v1/journal/import", admin, s.postImport, op.imports},
	}
}

// pageTable is every page, on the same screen.
func (s *Server) pageTable() []route {
	const read, admin = identity.Read, identity.Admin
	return []route{
		{pattern: "GET /sign-in", handler: s.getSignIn},
		{pattern: "POST /sign-in", handler: s.postSignIn},
		{pattern: "POST /sign-out", handler: s.postSignOut},
		{pattern: "GET /{$}", scope: read, handler: s.getOverview},
		{pattern: "GET /events", scope: read, handler: s.getEventsPage},
		{pattern: "GET /events/live", scope: read, handler: s.getLive},
		{pattern: "GET /events/{sequence}", scope: read, handler: s.getEventPage},
		{pattern: "GET /catalog", scope: read, handler: s.getCatalogPage},
		{pattern: "GET /catalog/{type}", scope: read, handler: s.getTypePage},
		{pattern: "GET /settings", scope: read, handler: s.getSettingsPage},
		{pattern: "POST /settings/verify", scope: admin, handler: s.postVerifyPage},
	}
}

// routes builds the mux. What no route knows is a problem, too.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	table := s.table()
	hidden := map[string]bool{}
	for _, r := range table {
		hidden[r.pattern] = r.doc.hidden
		mux.HandleFunc(r.pattern, s.guard(r.pattern, r.scope, r.handler))
	}
	for _, r := range s.pageTable() {
		mux.HandleFunc(r.pattern, s.page(r.pattern, r.scope, r.handler))
	}
	mux.Handle("GET /static/", s.static())
	s.openapi = openAPI(table, s.Version)
	unknown := s.guard("other", open, func(w http.ResponseWriter, r *http.Request) error {
		if allowed := methodsOf(mux, hidden, r); allowed != "" {
			w.Header().Set("Allow", allowed)
			return newProblem(http.StatusMethodNotAllowed, "method", r.Method+" is not possible here; these are: "+allowed)
		}
		return newProblem(http.StatusNotFound, "not-found", "there is nothing at this path; /openapi.json lists what there is")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			unknown(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// methodsOf lists the methods that a path knows, but for the hidden patterns.
func methodsOf(mux *http.ServeMux, hidden map[string]bool, r *http.Request) string {
	allowed := ""
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		probe := r.Clone(r.Context())
		probe.Method = method
		if _, pattern := mux.Handler(probe); pattern != "" && !hidden[pattern] {
			if allowed != "" {
				allowed += ", "
			}
			allowed += method
		}
	}
	return allowed
}
