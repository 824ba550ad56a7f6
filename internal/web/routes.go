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
	const read, emit, admin = identity.Read, identity.Emit, identity.Admin
	return []route{
		{"GET /healthz", open, s.getHealth, opHealth},
		{"GET /readyz", open, s.getReady, opReady},
		{"GET /metrics", open, s.getMetrics, opMetrics},
		{"GET /openapi.json", read, s.getOpenAPI, opOpenAPI},

		{"POST /v1/auth/token", open, s.postToken, opSignIn},
		{"POST /v1/auth/renew", read, s.postRenew, opRenew},

		{"POST /v1/events", emit, s.postEvents, opEmit},
		{"OPTIONS /v1/events", emit, s.optionsEvents, opHandshake},
		{"GET /v1/events", read, s.getEvents, opSearch},
		{"GET /v1/events/volume", read, s.getVolume, opVolume},
		{"GET /v1/events/tail", read, s.getTail, opTail},
		{"GET /v1/events/{sequence}", read, s.getEvent, opEvent},
		{"PUT /v1/events/{sequence}", read, s.refuseChange, opImmutable},
		{"PATCH /v1/events/{sequence}", read, s.refuseChange, opImmutable},
		{"DELETE /v1/events/{sequence}", read, s.refuseChange, opImmutable},
		{"PUT /v1/events", read, s.refuseChange, opImmutable},
		{"PATCH /v1/events", read, s.refuseChange, opImmutable},
		{"DELETE /v1/events", read, s.refuseChange, opImmutable},

		{"GET /v1/catalog", read, s.getCatalog, opCatalog},
		{"POST /v1/catalog", admin, s.postCatalog, opAddType},
		{"GET /v1/catalog/{type}", read, s.getCatalogEntry, opType},

		{"GET /v1/tokens", admin, s.getTokens, opTokens},
		{"POST /v1/tokens", admin, s.postTokens, opAddToken},
		{"GET /v1/tokens/{id}", admin, s.getToken, opToken},
		{"PUT /v1/tokens/{id}", admin, s.putToken, opPutToken},
		{"PATCH /v1/tokens/{id}", admin, s.putToken, opPatchToken},
		{"DELETE /v1/tokens/{id}", admin, s.deleteToken, opDropToken},

		{"GET /v1/sources", read, s.getSources, opSources},
		{"GET /v1/settings", read, s.getSettings, opSettings},
		{"PATCH /v1/settings", admin, s.patchSettings, opPatchSettings},
		{"POST /v1/reload", admin, s.postReload, opReload},

		{"GET /v1/journal", read, s.getJournal, opJournal},
		{"GET /v1/journal/heads", admin, s.getHeads, opHeads},
		{"POST /v1/journal/verify", admin, s.postVerify, opVerify},
		{"GET /v1/journal/export", admin, s.getExport, opExport},
		{"POST /v1/journal/import", admin, s.postImport, opImport},
	}
}

// routes builds the mux. What no route knows is a problem, too.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	table := s.table()
	for _, r := range table {
		mux.HandleFunc(r.pattern, s.guard(r.pattern, r.scope, r.handler))
	}
	s.openapi = openAPI(table, s.Version)
	unknown := s.guard("other", open, func(w http.ResponseWriter, r *http.Request) error {
		if allowed := methodsOf(mux, r); allowed != "" {
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

// methodsOf lists the methods that a path knows.
func methodsOf(mux *http.ServeMux, r *http.Request) string {
	allowed := ""
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		probe := r.Clone(r.Context())
		probe.Method = method
		if _, pattern := mux.Handler(probe); pattern != "" {
			if allowed != "" {
				allowed += ", "
			}
			allowed += method
		}
	}
	return allowed
}
