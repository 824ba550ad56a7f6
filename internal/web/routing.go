package web

import (
	"net/http"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// getRouting answers with the rules as a matrix of types and transports.
func (s *Server) getRouting(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	m, err := s.Notify.Routing(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		Transports any     `json:"transports"`
		Items      any     `json:"items"`
		Next       *string `json:"next"`
	}{m.Transports, m.Rows, nil})
}

// putRouting sets one cell, and answers with its row.
func (s *Server) putRouting(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Type      string  `json:"type"`
		Transport string  `json:"transport"`
		Severity  *string `json:"severity"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if in.Severity == nil {
		return event.Invalidf("body: severity is missing; empty for none")
	}
	id, err := state.ParseID(in.Transport)
	if err != nil {
		return event.Invalidf("body: transport: %s", err)
	}
	if err := s.Notify.SetRoute(r.Context(), cause(r), in.Type, id, *in.Severity); err != nil {
		return err
	}
	row, err := s.Notify.RoutingRow(r.Context(), in.Type)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, row)
}

// routingTable is every route about the matrix.
func (s *Server) routingTable() []route {
	cells := object{"type": "array", "items": ref("RoutingCell")}
	return []route{
		{"GET /v1/routing", identity.Read, s.getRouting, operation{
			summary: "The rules as a matrix of types and transports.", answers: ok("200", "Transports, and a row for each type and pattern of types.", ref("Routing")),
		}},
		{"PUT /v1/routing", identity.Admin, s.putRouting, operation{
			summary: "Set a cell of the matrix: its rule is made, changed, or removed where the severity is empty.", body: jsonBody(ref("Route")),
			answers: ok("200", "The row of the cell.", record("type kind producer cells", object{"type": object{"type": "string"}, "kind": object{"type": "string"}, "producer": object{"type": "string"}, "cells": cells})),
		}},
	}
}

func routingSchemas() object {
	str := object{"type": "string"}
	id := object{"type": "string", "pattern": "^[1-9][0-9]{0,17}$"}
	cell := record("transport severity rule effective effective_rule conditional", object{
		"transport": id, "severity": str, "rule": str, "effective": str, "effective_rule": str, "conditional": object{"type": "array", "items": id},
	})
	row := record("type kind producer cells", object{"type": str, "kind": str, "producer": str, "cells": object{"type": "array", "items": ref("RoutingCell")}})
	return object{
		"RoutingCell": cell,
		"Routing": record("transports items", object{
			"transports": object{"type": "array", "items": record("id name mode", object{"id": id, "name": str, "mode": str})}, "items": object{"type": "array", "items": row}, "next": object{"type": []string{"string", "null"}},
		}),
		"Route": input("type transport severity", object{
			"type": object{"type": "string", "pattern": "^[a-z0-9*?][a-z0-9_.*?-]{0,127}$"}, "transport": id,
			"severity": object{"type": "string", "enum": []string{"", "info", "notice", "warn", "error", "critical"}},
		}),
	}
}
