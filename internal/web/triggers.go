package web

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/state"
)

// triggerRow is a trigger as the API shows it.
type triggerRow struct {
	ID string `json:"id"`
	flow.Trigger
	Skips   map[flow.Skip]int64 `json:"skips"` // how often it did not run, by reason
	Created time.Time           `json:"created"`
	Updated time.Time           `json:"updated"`
}

// triggerRows makes rows with the counts of what was skipped.
func (s *Server) triggerRows(r *http.Request) (func(state.Record[flow.Trigger]) triggerRow, error) {
	skips, err := s.Flow.Skips(r.Context())
	return func(t state.Record[flow.Trigger]) triggerRow {
		row := triggerRow{t.ID.String(), t.Value, map[flow.Skip]int64{}, t.Created, t.Updated}
		if row.Types == nil {
			row.Types = []string{}
		}
		for _, c := range skips[t.ID] {
			row.Skips[c.Reason] = c.Count
		}
		return row
	}, err
}

func (s *Server) getTriggers(w http.ResponseWriter, r *http.Request) error {
	row, err := s.triggerRows(r)
	if err != nil {
		return err
	}
	return answerList(w, r, s.Flow.ListTriggers, row)
}

func (s *Server) getTrigger(w http.ResponseWriter, r *http.Request) error {
	row, err := s.triggerRows(r)
	if err != nil {
		return err
	}
	return answerOne(w, r, s.Flow.GetTrigger, row)
}

func (s *Server) postTriggers(w http.ResponseWriter, r *http.Request) error {
	in := flow.NewTrigger()
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	in.Origin = ""
	made, err := s.Flow.CreateTrigger(r.Context(), cause(r), in)
	if err != nil {
		return err
	}
	row, err := s.triggerRows(r)
	if err != nil {
		return err
	}
	return answerCreated(w, r, made.ID, made.Version, row(made))
}

func (s *Server) putTrigger(w http.ResponseWriter, r *http.Request) error {
	id, version, raw, err := changeOf(w, r)
	if err != nil {
		return err
	}
	changed, failed := s.Flow.UpdateTrigger(r.Context(), cause(r), id, version, func(t *flow.Trigger) error {
		origin := t.Origin // who has made it is not said by who changes it
		if r.Method == http.MethodPut {
			*t = flow.NewTrigger()
			err = decodeStrict(raw, t)
		} else {
			*t, err = patchTrigger(r, raw, *t)
		}
		t.Origin = origin
		return err
	})
	row, err := s.triggerRows(r)
	if err != nil {
		return err
	}
	return answerChanged(w, r, changed, row, failed)
}

// patchTrigger merges a patch. Null takes the static input away: it may be any
// value, and so is no pointer.
func patchTrigger(r *http.Request, raw json.RawMessage, was flow.Trigger) (flow.Trigger, error) {
	t, err := merge(r, raw, was)
	if err != nil {
		return t, err
	}
	given, err := members(raw)
	if string(given["data"]) == "null" {
		t.Data = nil
	}
	return t, err
}

func (s *Server) deleteTrigger(w http.ResponseWriter, r *http.Request) error {
	return answerDeleted(w, r, s.Flow.DeleteTrigger)
}

// maxSlots is how many coming slots are told at once.
const maxSlots = 1000

// getNext says when a schedule runs next.
func (s *Server) getNext(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "count", "from")
	now := time.Now()
	count, from := q.number("count", 10, 1, maxSlots), q.instant("from", now, now)
	if q.err != nil {
		return q.err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	slots, err := s.Flow.NextSlots(r.Context(), id, from, count)
	if err != nil {
		return err
	}
	if slots == nil {
		slots = []time.Time{}
	}
	return writeJSON(w, http.StatusOK, page[time.Time]{Items: slots})
}

// verdictRow is what one trigger makes of an event.
type verdictRow struct {
	Trigger string     `json:"trigger_id"`
	Name    string     `json:"trigger"`
	Flow    string     `json:"flow"`
	Matches bool       `json:"matches"` // whether the event is of one of its types
	Fires   bool       `json:"fires"`
	Run     flow.RunID `json:"run_id"` // that it has started for the event; empty for none
	Skip    flow.Skip  `json:"skip"`   // why it does not run; empty where it does
	Detail  string     `json:"detail"`
}

func newVerdictRow(v *flow.Verdict) verdictRow {
	return verdictRow{v.Trigger.String(), v.Name, v.Flow, v.Matches, v.Matches && v.Skip == "", v.Run, v.Skip, v.Detail}
}

// getTriggerExplain says which triggers an event fires, and why not the others.
func (s *Server) getTriggerExplain(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "sequence")
	if q.err == nil && q.text("sequence") == "" {
		q.fail("query: sequence is missing: that of an event")
	}
	if q.err != nil {
		return q.err
	}
	seq, err := event.ParseSeq(q.text("sequence"))
	if err != nil {
		return event.Invalidf("query: sequence: %w", err)
	}
	found, err := s.Flow.ExplainEvent(r.Context(), seq)
	if err != nil {
		return err
	}
	out := page[verdictRow]{Items: []verdictRow{}}
	for i := range found {
		out.Items = append(out.Items, newVerdictRow(&found[i]))
	}
	return writeJSON(w, http.StatusOK, out)
}
