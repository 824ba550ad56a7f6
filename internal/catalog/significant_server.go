package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Seed 002: servers and their health. Producers are the seed's microservices,
// because they are the last part of an event's source.
func init() {
	const waits = "the fleet"
	id := req("serverId", String, "The server.")
	user := req("userId", String, "Who did it.")
	site := req("siteId", String, "Its site.")
	address := req("managementAddress", String, "Address of its management controller.")
	uuid := req("serverUUID", String, "UUID that the hardware reports.")
	class := req("serverClass", String, "Its class.")
	status := req("serverStatus", String, "Its state.")
	typ := req("serverTypeId", String, "Its type.")
	begun := []Field{id, address, site}
	registered := []Field{id, status, typ, site, user}
	register(Family{Kind: event.KindSignificant, Producer: "inventory-microservice", Entries: []Entry{{
		Type: "server.registration.initiated", Waits: waits, Description: "A server's registration has begun.",
		Fires: "When a server is told to register.", Message: "registration of server {data.serverId} began", Fields: begun,
	}, {
		Type: "server.registered", Waits: waits, Description: "A server was registered.",
		Fires: "When its hardware was read.", Message: "server {data.serverId} is registered: {data.serverStatus}", Fields: registered,
	}, {
		Type: "server.reregistration.initiated", Waits: waits, Description: "A server's registration has begun again.",
		Fires: "When a known server is told to register anew.", Message: "re-registration of server {data.serverId} began", Fields: begun,
	}, {
		Type: "server.production.registration.initiated", Waits: waits, Description: "A server in production has begun to register.",
		Fires: "When a server that is in use is taken over.", Message: "production registration of server {data.serverId} began", Fields: begun,
	}, {
		Type: "server.production.registered", Waits: waits, Description: "A server in production was registered.",
		Fires: "When its hardware was read.", Message: "server {data.serverId} is registered for production: {data.serverStatus}", Fields: registered,
	}, {
		Type: "server.updated", Waits: waits, Description: "A server's properties changed.",
		Fires: "When a change is written; only changed properties are told.", Message: "server {data.serverId} was updated",
		Fields: []Field{id, user, req("changes", Object, "previousState and currentState of what changed.")},
	}, {
		Type: "server.credentials.updated", Severity: event.Notice, Waits: waits, Description: "A server's management credentials changed.",
		Fires: "When new credentials are stored; they are never told.", Message: "credentials of server {data.serverId} changed",
		Fields: []Field{id, user, req("serverManagementAddress", String, "Address of its management controller.")},
	}, {
		Type: "server.decommissioned", Severity: event.Notice, Waits: waits, Description: "A server was taken out of service.",
		Fires: "When it is decommissioned.", Message: "server {data.serverId} was decommissioned", Fields: []Field{id, uuid, class, status, typ},
	}, {
		Type: "server.deleted", Severity: event.Notice, Waits: waits, Description: "A server was removed for good.",
		Fires: "When it is deleted.", Message: "server {data.serverId} was deleted", Fields: []Field{id, uuid, class, status},
	}}})
	health := []Field{
		id, site, req("datacenterName", String, "Its datacenter."),
		req("previousState", String, "State before."), req("newState", String, "State now."),
		req("healthDetails", Strings, "What is wrong, in words."),
		opt("infrastructureId", String, "Only when the server is allocated."),
		opt("instanceId", String, "Only when the server is allocated."),
	}
	register(Family{Kind: event.KindSignificant, Producer: "notification-microservice", Entries: []Entry{{
		Type: "server.health.state.degraded", Severity: event.Error, Waits: waits, Description: "A server's health became worse.",
		Fires:   "At once when it is noticed, and again after the monitoring agent was asked.",
		Message: "server {data.serverId} is {data.newState} (was {data.previousState})", Routes: []string{"inbox", "email"},
		Fields: fields(health, []Field{
			req("monitoringAgentPrompted", Boolean, "Whether the monitoring agent was asked."),
			opt("monitoringAgentResult", Nullable, "Its answer in HTML; only after it was asked, null where it failed."),
		}),
	}, {
		Type: "server.health.state.improved", Severity: event.Notice, Waits: waits, Producer: "inventory-microservice",
		Description: "A server's health became better.", Fires: "When it has recovered.",
		Message: "server {data.serverId} is {data.newState} (was {data.previousState})", Fields: health,
	}}})
}
