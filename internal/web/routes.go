package web

import (
	"errors"
	"net/http"
	"slices"
	"strings"

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
		{"POST /v1/auth/renew", known, s.postRenew, op.renew},

		{"POST /v1/events", sends, s.postEvents, op.emit},
		{"OPTIONS /v1/events", sends, s.optionsEvents, op.handshake},
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
	const read, emit, admin = identity.Read, identity.Emit, identity.Admin
	return []pageRoute{
		{"GET /sign-in", open, s.getSignIn, "", ""},
		{"POST /sign-in", open, s.postSignIn, "", ""},
		{"POST /sign-out", open, s.postSignOut, "", ""},
		{"GET /forgot", open, s.getForgot, "", ""},
		{"POST /forgot", open, s.postForgot, "", ""},
		{"GET /reset", open, s.getReset, "", ""},
		{"POST /reset", open, s.postReset, "", ""},
		{"GET /verify-email", open, s.getVerifyEmailPage, "", ""},
		{"POST /verify-email", open, s.postVerifyEmailPage, "", ""},
		{"GET /invitation", open, s.getAccept, "", ""},
		{"POST /invitation", open, s.postAccept, "", ""},
		{"POST /impersonation/stop", known, s.postStopActing, "", ""},
		{"GET /{$}", read, s.getOverview, "Overview", "o"},
		{"GET /profile", known, s.getProfile, "", ""},
		{"POST /profile", known, s.postProfile, "", ""},
		{"POST /profile/password", known, s.postProfilePassword, "", ""},
		{"POST /profile/totp", known, s.postTOTPPage, "", ""},
		{"POST /profile/totp/confirm", known, s.postConfirmTOTP, "", ""},
		{"POST /profile/totp/end", known, s.postEndTOTP, "", ""},
		{"POST /profile/api-key", known, s.postProfileKey, "", ""},
		{"POST /profile/ssh-keys", known, s.postProfileSSHKey, "", ""},
		{"POST /profile/ssh-keys/{id}/remove", known, s.postProfileDropKey, "", ""},
		{"POST /profile/delegates", known, s.postProfileDelegate, "", ""},
		{"POST /profile/delegates/{id}/remove", known, s.postProfileDropDelegate, "", ""},
		{"POST /profile/sessions/{session}/end", known, s.postProfileEndSession, "", ""},
		{"GET /events", read, s.getEventsPage, "Events", "e"},
		{"GET /events/live", read, s.getLive, "", ""},
		{"GET /events/counts", read, s.getCountsPage, "", ""},
		{"GET /events/facets", read, s.getFacetsPage, "", ""},
		{"GET /events/complete", read, s.getComplete, "", ""},
		{"GET /events/map", read, s.getMapPage, "", ""},
		{"GET /events/export", read, s.getExportPage, "", ""},
		{"GET /events/{sequence}", read, s.getEventPage, "", ""},
		{"POST /searches", read, s.postSearchPage, "", ""},
		{"POST /searches/{id}/delete", read, s.deleteSearchPage, "", ""},
		{"GET /inbox", known, s.getInboxPage, "Inbox", "i"},
		{"GET /inbox/live", known, s.getChanges, "", ""},
		{"POST /inbox/seen", known, s.postAllSeenPage, "", ""},
		{"POST /inbox/mute", known, s.postMutePage, "", ""},
		{"POST /inbox/unmute", known, s.postUnmutePage, "", ""},
		{"POST /inbox/{id}/seen", known, s.postSeenPage, "", ""},
		{"POST /inbox/{id}/acknowledge", emit, s.postAcknowledgePage, "", ""},
		{"GET /rules", read, s.getRulesPage, "Rules", "r"},
		{"GET /deliveries", read, s.getDeliveriesPage, "Deliveries", "d"},
		{"GET /deliveries/replay", admin, s.getReplayPage, "", ""},
		{"POST /deliveries/replay", admin, s.postReplayAllPage, "", ""},
		{"GET /deliveries/{id}", read, s.getDeliveryPage, "", ""},
		{"POST /deliveries/{id}/replay", admin, s.postReplayPage, "", ""},
		{"POST /deliveries/{id}/acknowledge", emit, s.postAcknowledgeDelivery, "", ""},
		{"GET /transports", read, s.getTransportsPage, "Transports", "w"},
		{"POST /transports", admin, s.postTransportPage, "", ""},
		{"GET /transports/new", admin, s.getNewTransport, "", ""},
		{"GET /transports/{id}", read, s.getTransportPage, "", ""},
		{"POST /transports/{id}", admin, s.postEditTransport, "", ""},
		{"POST /transports/{id}/delete", admin, s.postDeleteTransport, "", ""},
		{"POST /transports/{id}/test", admin, s.postTestPage, "", ""},
		{"POST /transports/{id}/reveal", admin, s.postRevealTransport, "", ""},
		{"GET /silences", read, s.getSilencesPage, "Silences", "q"},
		{"GET /silences/preview", read, s.getSilencePreview, "", ""},
		{"POST /silences", emit, s.postSilencePage, "", ""},
		{"POST /silences/{id}/end", emit, s.postEndSilence, "", ""},
		{"POST /silences/{id}/remove", emit, s.postRemoveSilence, "", ""},
		{"GET " + unsubscribePath, open, s.getUnsubscribe, "", ""},
		{"POST " + unsubscribePath, open, s.postUnsubscribe, "", ""},
		{"GET /flows", read, s.getFlowsPage, "Flows", "f"},
		{"GET /flows/new", admin, s.getNewFlow, "", ""},
		{"POST /flows/new", admin, s.postFlowPage, "", ""},
		{"POST /flows/check", admin, s.postFlowCheck, "", ""},
		{"POST /flows/dry", admin, s.postFlowDry, "", ""},
		{"GET /flows/{id}", read, s.getFlowPage, "", ""},
		{"POST /flows/{id}", admin, s.postFlowPage, "", ""},
		{"POST /flows/{id}/run", emit, s.postRunFlow, "", ""},
		{"POST /flows/{id}/delete", admin, s.postDeleteFlow, "", ""},
		{"GET /triggers", read, s.getTriggersPage, "", ""},
		{"GET /triggers/new", admin, s.getNewTrigger, "", ""},
		{"POST /triggers/new", admin, s.postTriggerPage, "", ""},
		{"POST /triggers/preview", admin, s.postTriggerPreview, "", ""},
		{"GET /triggers/explain", read, s.getTriggered, "", ""},
		{"GET /triggers/{id}", read, s.getTriggerPage, "", ""},
		{"POST /triggers/{id}", admin, s.postTriggerPage, "", ""},
		{"POST /triggers/{id}/enabled", admin, s.postTriggerState, "", ""},
		{"POST /triggers/{id}/delete", admin, s.postDeleteTrigger, "", ""},
		{"GET /runs", read, s.getRunsPage, "", ""},
		{"GET /runs/live", read, s.getRunChanges, "", ""},
		{"GET /runs/{id}", read, s.getRunPage, "", ""},
		{"POST /runs/{id}/cancel", emit, s.postCancelRunPage, "", ""},
		{"POST /runs/{id}/retry", emit, s.postRetryRunPage, "", ""},
		{"GET /secrets", admin, s.getSecretsPage, "", ""},
		{"POST /secrets", admin, s.postSecretPage, "", ""},
		{"POST /secrets/{id}", admin, s.postEditSecret, "", ""},
		{"POST /secrets/{id}/delete", admin, s.postDeleteSecret, "", ""},
		{"POST /secrets/{id}/reveal", admin, s.postRevealSecret, "", ""},
		{"GET /catalog", read, s.getCatalogPage, "Catalog", "c"},
		{"GET /catalog/{type}/words", read, s.getWordsPage, "", ""},
		{"POST /catalog/{type}/words", admin, s.postWordsPage, "", ""},
		{"POST /catalog/{type}/words/reset", admin, s.postResetWords, "", ""},
		{"GET /catalog/new", admin, s.getNewType, "", ""},
		{"POST /catalog", admin, s.postTypePage, "", ""},
		{"GET /catalog/{type}", read, s.getTypePage, "", ""},
		{"GET /catalog/{type}/edit", admin, s.getEditType, "", ""},
		{"GET /rules/new", admin, s.getNewRule, "", ""},
		{"POST /rules/new", admin, s.postRulePage, "", ""},
		{"POST /rules/preview", admin, s.postRulePreview, "", ""},
		{"GET /rules/{id}", read, s.getRulePage, "", ""},
		{"POST /rules/{id}", admin, s.postRulePage, "", ""},
		{"POST /rules/{id}/enabled", admin, s.postRuleState, "", ""},
		{"POST /rules/{id}/delete", admin, s.postDeleteRule, "", ""},
		{"GET /rules/{id}/explain", read, s.getExplain, "", ""},
		{"GET /rules/{id}/backtest", read, s.getBackTest, "", ""},
		{"GET /events/{sequence}/told", read, s.getTold, "", ""},
		{"GET /routing", read, s.getRoutingPage, "", ""},
		{"POST /routing", admin, s.postRoutingPage, "", ""},
		{"GET /policies", read, s.getPoliciesPage, "", ""},
		{"GET /policies/new", admin, s.getNewPolicy, "", ""},
		{"POST /policies/new", admin, s.postPolicyPage, "", ""},
		{"GET /policies/{id}", read, s.getPolicyPage, "", ""},
		{"POST /policies/{id}", admin, s.postPolicyPage, "", ""},
		{"POST /policies/{id}/delete", admin, s.postDeletePolicy, "", ""},
		{"GET /users", admin, s.getUsersPage, "People", "p"},
		{"POST /users", admin, s.postUsersPage, "", ""},
		{"GET /users/{id}", admin, s.getUserPage, "", ""},
		{"POST /users/{id}", admin, s.postUserPage, "", ""},
		{"POST /users/{id}/state/{state}", admin, s.postUserState, "", ""},
		{"POST /users/{id}/reset", admin, s.postUserReset, "", ""},
		{"POST /users/{id}/end-totp", admin, s.postUserEndTOTP, "", ""},
		{"POST /users/{id}/act-as", admin, s.postActAs, "", ""},
		{"POST /users/{id}/sessions/{session}/end", admin, s.postUserEndSession, "", ""},
		{"POST /users/{id}/delete", admin, s.postDeleteUser, "", ""},
		{"GET /groups", admin, s.getGroupsPage, "", ""},
		{"POST /groups", admin, s.postGroupPage, "", ""},
		{"POST /groups/{id}", admin, s.postRenameGroup, "", ""},
		{"POST /groups/{id}/delete", admin, s.postDeleteGroup, "", ""},
		{"GET /roles", admin, s.getRolesPage, "", ""},
		{"POST /roles", admin, s.postRolePage, "", ""},
		{"POST /roles/{id}", admin, s.postEditRole, "", ""},
		{"POST /roles/{id}/delete", admin, s.postDeleteRole, "", ""},
		{"GET /invitations", admin, s.getInvitationsPage, "", ""},
		{"POST /invitations", admin, s.postInvitePage, "", ""},
		{"POST /invitations/{id}/reveal", admin, s.postRevealPage, "", ""},
		{"POST /invitations/{id}/revoke", admin, s.postRevokeInvitation, "", ""},
		{"GET /sources", read, s.getSourcesPage, "Sources", "u"},
		{"GET /sources/{name}", read, s.getSourcePage, "", ""},
		{"GET /agents", read, s.getAgentsPage, "Agents", "a"},
		{"GET /agents/{id}", read, s.getAgentPage, "", ""},
		{"POST /agents/{id}/forget", admin, s.postForgetAgent, "", ""},
		{"GET /settings", read, s.getSettingsPage, "Settings", "s"},
		{"GET /settings/retention", admin, s.getRetentionPage, "", ""},
		{"POST /settings/retention", admin, s.postRetentionPage, "", ""},
		{"POST /settings/server", admin, s.postServerPage, "", ""},
		{"GET /settings/verify", read, s.getVerifyPage, "", ""},
		{"POST /settings/verify", admin, s.postVerifyPage, "", ""},
		{"POST /settings/reload", admin, s.postReloadPage, "", ""},
		{"POST /settings/tokens", admin, s.postTokenPage, "", ""},
		{"POST /settings/tokens/{id}/revoke", admin, s.postRevokeToken, "", ""},
		{"GET /settings/licences", read, s.getLicences, "", ""},
		{"GET /sign-in/oidc/{provider}", open, s.getOIDC, "", ""},
		{"GET /sign-in/oidc/{provider}/callback", open, s.getOIDCBack, "", ""},
		{"GET /device", known, s.getDevicePage, "", ""},
		{"POST /device", known, s.postDevicePage, "", ""},
		{"GET /brand.css", open, s.getBrandStyle, "", ""},
		{"GET /brand-logo", open, s.getBrandLogo, "", ""},
		{"GET /styleguide", read, s.getStyleguide, "", ""},
	}
}

// identityTable is every route about who may do what. Of those that are open to
// all who are known, the handlers decide: users act upon their own account,
// administrators upon those with no more rights than they have.
func (s *Server) identityTable() []route {
	const admin = identity.Admin
	table := []route{
		{pattern: "POST /v1/auth/logout", scope: known, handler: s.postLogout},
		{pattern: "POST /v1/auth/device", scope: open, handler: s.postDevice},
		{pattern: "POST /v1/auth/device/token", scope: open, handler: s.postDeviceToken},
		{pattern: "POST /v1/auth/verify-email", scope: open, handler: s.postVerifyEmail},
		{pattern: "POST /v1/auth/password-reset", scope: open, handler: s.postAskReset},
		{pattern: "POST /v1/auth/password-reset/confirm", scope: open, handler: s.postConfirmReset},

		{pattern: "GET /v1/users", scope: admin, handler: s.getUsers},
		{pattern: "POST /v1/users", scope: admin, handler: s.postUsers},
		{pattern: "GET /v1/users/{id}", scope: known, handler: s.getUser},
		{pattern: "PUT /v1/users/{id}", scope: known, handler: s.putUser},
		{pattern: "PATCH /v1/users/{id}", scope: known, handler: s.putUser},
		{pattern: "DELETE /v1/users/{id}", scope: admin, handler: s.deleteUser},
		{pattern: "POST /v1/users/{id}/suspend", scope: admin, handler: s.postSuspend},
		{pattern: "POST /v1/users/{id}/unsuspend", scope: admin, handler: s.postUnsuspend},
		{pattern: "POST /v1/users/{id}/archive", scope: admin, handler: s.postArchive},
		{pattern: "POST /v1/users/{id}/unarchive", scope: admin, handler: s.postUnarchive},
		{pattern: "POST /v1/users/{id}/password-reset", scope: known, handler: s.postPasswordReset},
		{pattern: "POST /v1/users/{id}/api-key", scope: known, handler: s.postAPIKey},
		{pattern: "POST /v1/users/{id}/impersonate", scope: admin, handler: s.postImpersonate},
		{pattern: "DELETE /v1/users/{id}/impersonate", scope: known, handler: s.deleteImpersonate},
		{pattern: "GET /v1/users/{id}/ssh-keys", scope: known, handler: s.getSSHKeys},
		{pattern: "POST /v1/users/{id}/ssh-keys", scope: known, handler: s.postSSHKeys},
		{pattern: "GET /v1/users/{id}/ssh-keys/{key}", scope: known, handler: s.getSSHKey},
		{pattern: "DELETE /v1/users/{id}/ssh-keys/{key}", scope: known, handler: s.deleteSSHKey},
		{pattern: "GET /v1/users/{id}/delegates", scope: known, handler: s.getDelegates},
		{pattern: "POST /v1/users/{id}/delegates", scope: known, handler: s.postDelegates},
		{pattern: "GET /v1/users/{id}/delegates/{delegate}", scope: known, handler: s.getDelegate},
		{pattern: "DELETE /v1/users/{id}/delegates/{delegate}", scope: known, handler: s.deleteDelegate},
		{pattern: "GET /v1/users/{id}/totp", scope: known, handler: s.getTOTP},
		{pattern: "POST /v1/users/{id}/totp", scope: known, handler: s.postTOTP},
		{pattern: "POST /v1/users/{id}/totp/confirm", scope: known, handler: s.confirmTOTP},
		{pattern: "DELETE /v1/users/{id}/totp", scope: known, handler: s.deleteTOTP},
		{pattern: "GET /v1/users/{id}/sessions", scope: known, handler: s.getSessions},
		{pattern: "DELETE /v1/users/{id}/sessions/{session}", scope: known, handler: s.deleteSession},

		{pattern: "GET /v1/groups", scope: admin, handler: s.getGroups},
		{pattern: "POST /v1/groups", scope: admin, handler: s.postGroups},
		{pattern: "GET /v1/groups/{id}", scope: admin, handler: s.getGroup},
		{pattern: "PUT /v1/groups/{id}", scope: admin, handler: s.putGroup},
		{pattern: "PATCH /v1/groups/{id}", scope: admin, handler: s.putGroup},
		{pattern: "DELETE /v1/groups/{id}", scope: admin, handler: s.deleteGroup},
		{pattern: "GET /v1/roles", scope: admin, handler: s.getRoles},
		{pattern: "POST /v1/roles", scope: admin, handler: s.postRoles},
		{pattern: "GET /v1/roles/{id}", scope: admin, handler: s.getRole},
		{pattern: "PUT /v1/roles/{id}", scope: admin, handler: s.putRole},
		{pattern: "PATCH /v1/roles/{id}", scope: admin, handler: s.putRole},
		{pattern: "DELETE /v1/roles/{id}", scope: admin, handler: s.deleteRole},

		{pattern: "GET /v1/invitations", scope: admin, handler: s.getInvitations},
		{pattern: "POST /v1/invitations", scope: admin, handler: s.postInvitations},
		{pattern: "POST /v1/invitations/accept", scope: open, handler: s.acceptInvitation},
		{pattern: "GET /v1/invitations/{id}", scope: admin, handler: s.getInvitation},
		{pattern: "DELETE /v1/invitations/{id}", scope: admin, handler: s.deleteInvitation},
		{pattern: "POST /v1/invitations/{id}/reveal", scope: admin, handler: s.revealInvitation},
	}
	docs := describeIdentity()
	for i := range table {
		table[i].doc = docs[table[i].pattern]
	}
	return table
}

// brandTable is every route about brands.
func (s *Server) brandTable() []route {
	const read, admin = identity.Read, identity.Admin
	op := describeBrands()
	return []route{
		{"GET /v1/brands", read, s.getBrands, op["list"]},
		{"POST /v1/brands", admin, s.postBrands, op["create"]},
		{"GET /v1/brands/{id}", read, s.getBrand, op["get"]},
		{"PUT /v1/brands/{id}", admin, s.putBrand, op["put"]},
		{"PATCH /v1/brands/{id}", admin, s.putBrand, op["patch"]},
		{"DELETE /v1/brands/{id}", admin, s.deleteBrand, op["delete"]},
	}
}

// routes builds the mux. What no route knows is a problem, too.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	table := slices.Concat(s.table(), s.identityTable(), s.brandTable(), s.alertTable(), s.notifyTable(), s.routingTable(), s.agentTable(), s.flowTable())
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
	suspect := s.guard("suspicious", open, func(_ http.ResponseWriter, r *http.Request) error {
		why := s.refuses(r)
		return errors.Join(newProblem(why.status, why.slug, why.detail), s.suspicious(r, "", why.detail))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.refuses(r) != nil {
			suspect(w, r)
			return
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			unknown(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// methodsOf lists the methods that a path knows, but for the hidden patterns. A
// path that a pattern names in full, such as /v1/invitations/accept, is no {id}.
func methodsOf(mux *http.ServeMux, hidden map[string]bool, r *http.Request) string {
	var named, all []string
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		probe := r.Clone(r.Context())
		probe.Method = method
		_, pattern := mux.Handler(probe)
		if pattern == "" || hidden[pattern] {
			continue
		}
		all = append(all, method)
		if strings.HasSuffix(pattern, " "+r.URL.Path) {
			named = append(named, method)
		}
	}
	if named != nil {
		all = named
	}
	return strings.Join(all, ", ")
}
