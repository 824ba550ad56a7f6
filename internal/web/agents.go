package web

import (
	"encoding/json"
	"maps"
	"mime"
	"net/http"

	"github.com/tocsin-events/tocsin/internal/agent"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
)

// agentTable is every route about the remote hosts that report here.
func (s *Server) agentTable() []route {
	op := describeAgents()
	return []route{
		{"GET /v1/agents", identity.Read, s.getAgents, op["list"]},
		{"GET /v1/agents/{id}", identity.Read, s.getAgent, op["get"]},
		{"PUT /v1/agents/{id}", identity.Forward, s.putAgent, op["put"]},
		{"DELETE /v1/agents/{id}", identity.Admin, s.deleteAgent, op["delete"]},
	}
}

// Forwarding is how this server fares that is an agent itself.
type Forwarding struct {
	URL     string `json:"url"`
	Lag     uint64 `json:"lag"`
	Problem string `json:"problem"` // empty while events are taken
}

// agentPage is a page of agents.
type agentPage struct {
	page[agent.Row]

	Forward *Forwarding `json:"forward"` // null where this server is none itself
}

// getAgents lists the remote hosts.
func (s *Server) getAgents(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	rows, err := s.Agents.List(r.Context())
	if err != nil {
		return err
	}
	if rows == nil {
		rows = []agent.Row{}
	}
	return writeJSON(w, http.StatusOK, agentPage{page[agent.Row]{Items: rows}, s.Forwarding()})
}

// getAgent shows one.
func (s *Server) getAgent(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	row, err := s.Agents.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, row)
}

// putAgent takes the report of an agent. Members that this version does not know
// are those of a newer one, and passed over.
func (s *Server) putAgent(w http.ResponseWriter, r *http.Request) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return newProblem(http.StatusUnsupportedMediaType, "media-type", "send the report as application/json")
	}
	raw, err := readBody(w, r, maxJSON)
	if err != nil {
		return err
	}
	var report agent.Report
	if err := json.Unmarshal(raw, &report); err != nil {
		return event.Invalidf("body: %w", err)
	}
	p := callerOf(r).principal
	from := agent.Sender{ID: p.AuthType + "/" + p.ID + "/" + p.Token, Token: p.Token, Cause: cause(r)}
	if err := s.Agents.Heard(r.Context(), r.PathValue("id"), from, report); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// deleteAgent forgets one.
func (s *Server) deleteAgent(w http.ResponseWriter, r *http.Request) error {
	if err := s.Agents.Forget(r.Context(), cause(r), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func describeAgents() map[string]operation {
	str, integer, boolean := object{"type": "string"}, object{"type": "integer"}, object{"type": "boolean"}
	count := object{"type": "integer", "minimum": 0}
	when := object{"type": "string", "format": "date-time"}
	labels := object{"type": "object", "additionalProperties": str}
	source := object{"name": str, "status": str, "last_event": orNull(when), "last_error": str, "lacks": str}
	report := object{"name": str, "version": str, "started": when, "now": when, "labels": orNull(labels), "lag": count, "refused": count, "sources": object{"type": []string{"array", "null"}, "items": record("", source)}}
	row := object{"id": str, "silent": boolean, "first_seen": when, "last_seen": when, "address": str, "token": str, "clock_off_ms": integer}
	maps.Copy(row, report)
	named := object{"type": "string", "minLength": 1, "maxLength": 253, "pattern": `^[!-~]+$`}
	sentReport := sent("name", report)
	sentReport["properties"].(object)["name"] = named
	shown := record("id silent first_seen last_seen name version lag sources", row)
	return map[string]operation{
		"list": {summary: "The remote hosts that report here.", answers: ok("200", "All agents.", record("items next forward", object{
			"items": object{"type": "array", "items": shown}, "next": object{"type": []string{"string", "null"}},
			"forward": orNull(record("url lag problem", object{"url": str, "lag": count, "problem": str})),
		}))},
		"get": {summary: "One remote host.", answers: ok("200", "The agent.", shown)},
		"put": {summary: "The report of an agent: how it fares. For tokens with the scope forward.", body: jsonBody(sentReport), answers: map[string]answerDoc{
			"204": {doc: "It is taken."}, "403": {"The agent belongs to another token.", "application/problem+json", ref("Problem")},
		}},
		"delete": {summary: "Forget a remote host. It joins anew with its next report.", answers: map[string]answerDoc{"204": {doc: "It is forgotten."}}},
	}
}
