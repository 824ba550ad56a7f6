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
		{"GET /v1/events/facets", read, s.getFacets, op.facets},
		{"GET /v1/events/export", read, s.getSearchExport, op.searchExport},
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

		{"GET /v1/searches", read, s.getSearches, op.searches},
		{"POST /v1/searches", read, s.postSearches, op.addSearch},
		{"GET /v1/searches/{id}", read, s.getSearch, op.oneSearch},
		{"PUT /v1/searches/{id}", read, s.putSearch, op.putSearch},
		{"PATCH /v1/searches/{id}", read, s.putSearch, op.patchSearch},
		{"DELETE /v1/searches/{id}", read, s.deleteSearch, op.dropSearch},

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

// pageRoute is one line of the table of pages. Those with a nav are in the
// navigation, and open with the keys g and key.
type pageRoute struct {
	pattern  string
	scope    identity.Scope // open: anybody
	handler  handler
	nav, key string
}

// pageTable is every page, on the same screen.
func (s *Server) pageTable() []pageRoute {
	const read, admin = identity.Read, identity.Admin
	return []pageRoute{
		{"GET /sign-in", open, s.getSignIn, "", ""},
		{"POST /sign-in", open, s.postSignIn, "", ""},
		{"POST /sign-out", open, s.postSignOut, "", ""},
		{"GET /{$}", read, s.getOverview, "Overview", "o"},
		{"GET /events", read, s.getEventsPage, "Events", "e"},
		{"GET /events/live", read, s.getLive, "", ""},
		{"GET /events/facets", read, s.getFacetsPage, "", ""},
		{"GET /events/complete", read, s.getComplete, "", ""},
		{"GET /events/export", read, s.getExportPage, "", ""},
		{"GET /events/{sequence}", read, s.getEventPage, "", ""},
		{"POST /searches", read, s.postSearchPage, "", ""},
		{"POST /searches/{id}/delete", read, s.deleteSearchPage, "", ""},
		{"GET /catalog", read, s.getCatalogPage, "Catalog", "c"},
		{"GET /catalog/new", admin, s.getNewType, "", ""},
		{"POST /catalog", admin, s.postTypePage, "", ""},
		{"GET /catalog/{type}", read, s.getTypePage, "", ""},
		{"GET /catalog/{type}/edit", admin, s.getEditType, "", ""},
		{"GET /settings", read, s.getSettingsPage, "Settings", "s"},
		{"GET /settings/retention", admin, s.getRetentionPage, "", ""},
		{"POST /settings/retention", admin, s.postRetentionPage, "", ""},
		{"GET /settings/verify", read, s.getVerifyPage, "", ""},
		{"POST /settings/verify", admin, s.postVerifyPage, "", ""},
		{"POST /settings/reload", admin, s.postReloadPage, "", ""},
		{"POST /settings/tokens", admin, s.postTokenPage, "", ""},
		{"POST /settings/tokens/{id}/revoke", admin, s.postRevokeToken, "", ""},
		{"GET /styleguide", read, s.getStyleguide, "", ""},
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
