package web

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// ruleRow is a rule as the API shows it.
type ruleRow struct {
	ID string `json:"id"`
	notify.Rule
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

func newRuleRow(r state.Record[notify.Rule]) ruleRow {
	return ruleRow{r.ID.String(), r.Value, r.Created, r.Updated}
}

func (s *Server) getRules(w http.ResponseWriter, r *http.Request) error {
	return answerList(w, r, s.Notify.ListRules, newRuleRow)
}

func (s *Server) getRule(w http.ResponseWriter, r *http.Request) error {
	return answerOne(w, r, s.Notify.GetRule, newRuleRow)
}

func (s *Server) postRules(w http.ResponseWriter, r *http.Request) error {
	in := notify.NewRule()
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	made, err := s.Notify.CreateRule(r.Context(), cause(r), in)
	if err != nil {
		return err
	}
	return answerCreated(w, r, made.ID, made.Version, newRuleRow(made))
}

func (s *Server) putRule(w http.ResponseWriter, r *http.Request) error {
	id, version, raw, err := changeOf(w, r)
	if err != nil {
		return err
	}
	changed, err := s.Notify.UpdateRule(r.Context(), cause(r), id, version, func(v *notify.Rule) error {
		if r.Method == http.MethodPut {
			*v = notify.NewRule()
			return decodeStrict(raw, v)
		}
		var err error
		*v, err = merge(r, raw, *v)
		return err
	})
	return answerChanged(w, r, changed, newRuleRow, err)
}

func (s *Server) deleteRule(w http.ResponseWriter, r *http.Request) error {
	return answerDeleted(w, r, s.Notify.DeleteRule)
}

// postExplain says why a rule fires for an event, or not.
func (s *Server) postExplain(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Rule     ruleOrID    `json:"rule"`
		Sequence anySequence `json:"sequence"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	rule, err := in.Rule.find(r, s)
	if err != nil {
		return err
	}
	x, err := s.Notify.Explain(r.Context(), in.Rule.id, rule, event.Seq(in.Sequence))
	if err != nil {
		return err
	}
	out := explanationRow{Explanation: x, Deliveries: []deliveryRow{}}
	for _, d := range x.Deliveries {
		out.Deliveries = append(out.Deliveries, newDeliveryRow(d))
	}
	return writeJSON(w, http.StatusOK, out)
}

type explanationRow struct {
	notify.Explanation
	Deliveries []deliveryRow `json:"deliveries"`
}

// postBackTest says what a rule would have told.
func (s *Server) postBackTest(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Rule  ruleOrID `json:"rule"`
		Since string   `json:"since"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	rule, err := in.Rule.find(r, s)
	if err != nil {
		return err
	}
	since, err := sinceOf(in.Since, 30*24*time.Hour)
	if err != nil {
		return err
	}
	b, err := s.Notify.TestRule(r.Context(), rule, since)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, b)
}

// sinceOf reads a time, or a duration back from now.
func sinceOf(text string, otherwise time.Duration) (time.Time, error) {
	if text == "" {
		return time.Now().Add(-otherwise), nil
	}
	if d, err := event.ParseDuration(text); err == nil {
		return time.Now().Add(-d), nil
	}
	t, err := event.ParseTime(text)
	if err != nil {
		return t, event.Invalidf("since: %q is neither a duration such as 24h nor a time", text)
	}
	return t, nil
}

// ruleOrID is a rule in a body: the id of a stored one, or all of it.
type ruleOrID struct {
	id   state.ObjectID
	rule notify.Rule
}

// UnmarshalJSON implements json.Unmarshaler.
func (x *ruleOrID) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '{' {
		x.rule = notify.NewRule()
		return decodeStrict(raw, &x.rule)
	}
	text, err := textOf(raw)
	if err != nil {
		return event.Invalidf("body: rule must be the id of a rule, or a rule")
	}
	if x.id, err = state.ParseID(text); err != nil {
		return event.Invalidf("body: rule: %s", err)
	}
	return nil
}

func (x *ruleOrID) find(r *http.Request, s *Server) (notify.Rule, error) {
	if x.id == 0 {
		if x.rule.Mode == "" {
			return x.rule, event.Invalidf("body: rule is missing: the id of a rule, or a rule")
		}
		return x.rule, nil
	}
	found, err := s.Notify.GetRule(r.Context(), x.id)
	return found.Value, err
}

// textOf is a JSON string's text, or a whole number's digits.
func textOf(raw []byte) (string, error) {
	var text string
	if len(raw) > 0 && raw[0] == '"' {
		return text, json.Unmarshal(raw, &text)
	}
	for _, c := range raw {
		if c < '0' || c > '9' {
			return "", event.Invalidf("%s is no whole number", raw)
		}
	}
	return string(raw), nil
}

// anySequence is a sequence as a string or a number.
type anySequence event.Seq

// UnmarshalJSON implements json.Unmarshaler.
func (q *anySequence) UnmarshalJSON(raw []byte) error {
	text, err := textOf(raw)
	if err != nil {
		return event.Invalidf("body: sequence must be a sequence")
	}
	seq, err := event.ParseSeq(text)
	if err != nil {
		return event.Invalidf("body: %w", err)
	}
	*q = anySequence(seq)
	return nil
}

// policyRow is a stored policy as the API shows it.
type policyRow struct {
	ID string `json:"id"`
	notify.Policy
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

func newPolicyRow(r state.Record[notify.Policy]) policyRow {
	return policyRow{r.ID.String(), r.Value, r.Created, r.Updated}
}

func (s *Server) getPolicies(w http.ResponseWriter, r *http.Request) error {
	return answerList(w, r, s.Notify.ListPolicies, newPolicyRow)
}

func (s *Server) getPolicy(w http.ResponseWriter, r *http.Request) error {
	return answerOne(w, r, s.Notify.GetPolicy, newPolicyRow)
}

func (s *Server) postPolicies(w http.ResponseWriter, r *http.Request) error {
	var in notify.Policy
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	made, err := s.Notify.CreatePolicy(r.Context(), cause(r), in)
	if err != nil {
		return err
	}
	return answerCreated(w, r, made.ID, made.Version, newPolicyRow(made))
}

func (s *Server) putPolicy(w http.ResponseWriter, r *http.Request) error {
	id, version, raw, err := changeOf(w, r)
	if err != nil {
		return err
	}
	changed, err := s.Notify.UpdatePolicy(r.Context(), cause(r), id, version, func(p *notify.Policy) (err error) {
		*p, err = merge(r, raw, *p)
		return err
	})
	return answerChanged(w, r, changed, newPolicyRow, err)
}

func (s *Server) deletePolicy(w http.ResponseWriter, r *http.Request) error {
	return answerDeleted(w, r, s.Notify.DeletePolicy)
}
