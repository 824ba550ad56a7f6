package web

import (
	"encoding/json"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// flowRow is a flow as the API shows it.
type flowRow struct {
	ID string `json:"id"`
	flow.Definition
	Drifted bool      `json:"drifted"` // it is kept in a file, and was changed here
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

func newFlowRow(r state.Record[flow.Definition]) flowRow {
	if r.Value.Scopes == nil {
		r.Value.Scopes = []string{}
	}
	return flowRow{r.ID.String(), r.Value, r.Value.Drifted(), r.Created, r.Updated}
}

// flowLine is a flow in a list, where documents would be too much.
type flowLine struct {
	flowRow
	Document string `json:"document,omitempty"`
}

func newFlowLine(r state.Record[flow.Definition]) flowLine { return flowLine{flowRow: newFlowRow(r)} }

// yamlMedia are the media types of YAML (RFC 9512), and what was written before it.
const yamlMedia = "application/yaml"

// maxFlow is the largest document, in bytes.
const maxFlow = 1 << 20

// readFlow reads the document of a flow, YAML or JSON.
func readFlow(w http.ResponseWriter, r *http.Request) (string, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains([]string{yamlMedia, "application/x-yaml", "text/yaml", "text/x-yaml", "application/json"}, media) {
		return "", newProblem(http.StatusUnsupportedMediaType, "media-type", "send the document as application/yaml or application/json")
	}
	raw, err := readBody(w, r, maxFlow)
	return string(raw), err
}

func (s *Server) getFlows(w http.ResponseWriter, r *http.Request) error {
	return answerList(w, r, s.Flow.ListFlows, newFlowLine)
}

func (s *Server) getFlow(w http.ResponseWriter, r *http.Request) error {
	return answerOne(w, r, s.Flow.GetFlow, newFlowRow)
}

// postFlows stores a flow, also an invalid one: its state and reason say so.
func (s *Server) postFlows(w http.ResponseWriter, r *http.Request) error {
	document, err := readFlow(w, r)
	if err != nil {
		return err
	}
	made, err := s.Flow.CreateFlow(r.Context(), cause(r), document, "")
	if err != nil {
		return err
	}
	return answerCreated(w, r, made.ID, made.Version, newFlowRow(made))
}

// putFlow gives a flow a new version.
func (s *Server) putFlow(w http.ResponseWriter, r *http.Request) error {
	id, version, err := target(r)
	if err != nil {
		return err
	}
	document, err := readFlow(w, r)
	if err != nil {
		return err
	}
	changed, err := s.Flow.UpdateFlow(r.Context(), cause(r), id, version, document)
	return answerChanged(w, r, changed, newFlowRow, err)
}

func (s *Server) deleteFlow(w http.ResponseWriter, r *http.Request) error {
	return answerDeleted(w, r, s.Flow.DeleteFlow)
}

// validation is what a check of a document found.
type validation struct {
	Valid    bool              `json:"valid"`
	State    flow.Validity     `json:"state"`
	Problems []program.Problem `json:"problems"`
}

// postValidate says what is wrong with a document. Stores nothing.
func (s *Server) postValidate(w http.ResponseWriter, r *http.Request) error {
	document, err := readFlow(w, r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, s.validate(document))
}

func (s *Server) validate(document string) validation {
	v := validation{State: flow.Valid, Problems: s.Flow.Problems(document)}
	if v.Valid = len(v.Problems) == 0; !v.Valid {
		v.State = flow.Invalid
	} else {
		v.Problems = []program.Problem{}
	}
	return v
}

// postRuns starts a run by hand. The same Idempotency-Key starts one.
func (s *Server) postRuns(w http.ResponseWriter, r *http.Request) error {
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	input, err := readValue(w, r)
	if err != nil {
		return err
	}
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxKey {
		return event.Invalidf("Idempotency-Key: has more than %d bytes", maxKey)
	}
	run, err := s.startRun(r, id, input, key)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/runs/"+string(run.ID))
	return writeJSON(w, http.StatusCreated, newRunRow(&run))
}

// maxKey is the longest Idempotency-Key, in bytes.
const maxKey = 256

func (s *Server) startRun(r *http.Request, id state.ObjectID, input json.RawMessage, key string) (flow.Run, error) {
	f, err := s.Flow.GetFlow(r.Context(), id)
	if err != nil {
		return flow.Run{}, err
	}
	if err := mayRun(r, f.Value.Scopes); err != nil {
		return flow.Run{}, err
	}
	return s.Flow.StartRun(r.Context(), cause(r), id, input, key)
}

// mayRun refuses to lend a flow's rights to who has fewer: what it does with its
// input is what they would do.
func mayRun(r *http.Request, scopes []string) error {
	for _, scope := range scopes {
		if !callerOf(r).principal.Can(identity.Scope(scope)) {
			return event.Deniedf("this flow has the scope %q, which you do not have: only who has it may start it by hand", scope)
		}
	}
	return nil
}

// readValue reads any JSON value; nothing where there is no body.
func readValue(w http.ResponseWriter, r *http.Request) (json.RawMessage, error) {
	raw, err := readBody(w, r, maxJSON)
	if err != nil {
		return nil, err
	}
	if len(strings.TrimSpace(string(raw))) == 0 {
		return nil, nil
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, newProblem(http.StatusUnsupportedMediaType, "media-type", "send the input as application/json")
	}
	return raw, checkValue(raw)
}

// checkValue refuses what is no JSON value, or has a member twice.
func checkValue(raw []byte) error {
	var sc scan.Scanner
	sc.Reset(raw)
	for {
		kind, err := sc.Next()
		if err != nil {
			return event.Invalidf("body: %w", err)
		}
		if kind == scan.End {
			return nil
		}
	}
}

// postDryRun runs a flow without doing anything outside.
func (s *Server) postDryRun(w http.ResponseWriter, r *http.Request) error {
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	var in struct {
		Input    json.RawMessage `json:"input"`
		Sequence *anySequence    `json:"sequence"`
		Trigger  string          `json:"trigger"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	f, err := s.Flow.GetFlow(r.Context(), id)
	if err != nil {
		return err
	}
	dry := flow.DryRun{Document: f.Value.Document, Input: in.Input}
	if in.Sequence != nil {
		dry.Sequence = event.Seq(*in.Sequence)
	}
	if len(dry.Input) > 0 && dry.Sequence != 0 {
		return event.Invalidf("body: give input, or the sequence of an event, not both")
	}
	if dry.Trigger, err = s.dryTrigger(r, in.Trigger); err != nil {
		return err
	}
	found, err := s.Flow.Rehearse(r.Context(), dry)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, newRehearsalRow(&found))
}

// getDiagram draws a flow.
func (s *Server) getDiagram(w http.ResponseWriter, r *http.Request) error {
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	f, err := s.Flow.GetFlow(r.Context(), id)
	if err != nil {
		return err
	}
	g, err := s.Flow.Graph(f.Value.Document)
	if err != nil {
		return newProblem(http.StatusConflict, "invalid-flow", "an invalid flow has no diagram: "+err.Error())
	}
	picture, err := s.diagramFile(drawFlow(&g, nil))
	if err != nil {
		return err
	}
	head := w.Header()
	head.Set("Content-Type", "image/svg+xml")
	// Opened by itself, the picture brings its colours along, and nothing that acts.
	head.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(picture) // fails only where the client has gone
	return nil
}

// dryTrigger is the trigger whose mapping makes the input of a dry run; nil for none.
func (s *Server) dryTrigger(r *http.Request, id string) (*flow.Trigger, error) {
	if id == "" {
		return nil, nil //nolint:nilnil // none is a value of its own
	}
	n, err := state.ParseID(id)
	if err != nil {
		return nil, event.Invalidf("trigger: %w", err)
	}
	t, err := s.Flow.GetTrigger(r.Context(), n)
	return &t.Value, err
}
