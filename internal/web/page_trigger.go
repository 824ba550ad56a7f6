package web

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// triggerForm is a trigger as a form has it: what was typed, also where it is wrong.
type triggerForm struct {
	Version                                    string
	Name, Kind, Flow, Priority, Input          string
	Enabled                                    bool
	Types                                      []string
	Filter, OnceWithin, Within, Count          string
	GroupBy                                    []string
	Limit, WhenFull                            string
	Cron, Every, At, Timezone, Missed, Overlap string
	Window, Jitter, ExpiresAfter, Data         string
	Once                                       bool
	NotOK, NotError                            bool // result events that are not raised
	Expires                                    string
}

// triggerView is the editor of one trigger.
type triggerView struct {
	Tabs                               []link
	ID, Called                         string // empty for a new one
	Said                               string
	Problem                            *problem
	Mistake                            *filterProblem // in the filter
	Form                               triggerForm
	Kinds                              []link
	Flows, Full, MissedHow, OverlapHow []choice
	Known, Zones                       []string
	IsAdmin                            bool
	Preview                            *triggerPreview
	Skips                              []skipLine
	Runs                               []runLine
	Origin                             link // the flow that has made it
	JSON, Curl                         string
}

// triggerPreview is when a schedule runs next, or which events a trigger would have
// run for.
type triggerPreview struct {
	Problem string
	Slots   []slotLine
	Never   bool
	Rows    []eventRow
	Event   bool
	Flow    string
}

// slotLine is a coming time, also on the clock of its zone.
type slotLine struct {
	At   time.Time
	Here string
}

func newTriggerForm(t *flow.Trigger) triggerForm {
	f := triggerForm{
		Name: t.Name, Kind: string(t.Kind), Flow: t.Flow, Priority: strconv.Itoa(t.Priority), Input: t.Input, Enabled: t.Enabled, Types: t.Types, Filter: t.Filter,
		Cron: t.Cron, Every: durationText(t.Every), Timezone: t.Timezone, Missed: t.Missed, Overlap: t.Overlap, Window: durationText(t.CatchupWindow),
		Jitter: durationText(t.Jitter), ExpiresAfter: durationText(t.ExpiresAfter), Once: t.Once, Expires: durationText(t.Emit.Expires),
		NotOK: t.Emit.OK != nil && !*t.Emit.OK, NotError: t.Emit.Error != nil && !*t.Emit.Error,
	}
	if len(t.Data) > 0 && string(t.Data) != "null" {
		f.Data = pretty(t.Data)
	}
	if t.At != nil {
		f.At = t.At.Format(time.RFC3339)
	}
	if c := t.Concurrency; c != nil {
		f.Limit, f.WhenFull = strconv.Itoa(c.Limit), c.WhenFull
	}
	if th := t.Throttle; th != nil {
		f.OnceWithin, f.GroupBy = durationText(th.OnceWithin), th.GroupBy
		if a := th.Accumulate; a != nil {
			f.Within, f.Count = durationText(a.Within), strconv.Itoa(a.Count)
		}
	}
	return f
}

// readTriggerForm reads the form of a trigger, and the act that its button asks for.
func readTriggerForm(w http.ResponseWriter, r *http.Request) (f triggerForm, act string, err error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRuleForm)
	if err := r.ParseForm(); err != nil {
		return f, "", event.Invalidf("form: %w", err)
	}
	v := formReader{values: r.PostForm, used: map[string]bool{}}
	f = triggerForm{
		Version: v.one("version"), Name: v.one("name"), Kind: v.one("kind"), Flow: v.one("flow"), Priority: v.one("priority"), Input: v.one("input"), Enabled: v.flag("enabled"),
		Types: v.words("types"), Filter: v.one("filter"), OnceWithin: v.one("throttle.once_within"), Within: v.one("throttle.within"), Count: v.one("throttle.count"), GroupBy: v.list("throttle.group_by"),
		Limit: v.one("concurrency.limit"), WhenFull: v.one("concurrency.when_full"),
		Cron: v.one("cron"), Every: v.one("every"), At: v.one("at"), Timezone: v.one("timezone"), Missed: v.one("missed"), Overlap: v.one("overlap"),
		Window: v.one("catchup_window"), Jitter: v.one("jitter"), ExpiresAfter: v.one("expires_after"), Data: v.one("data"), Once: v.flag("once"),
		NotOK: v.flag("emit.not_ok"), NotError: v.flag("emit.not_error"), Expires: v.one("emit.expires"),
	}
	act = v.one("act")
	return f, act, v.unknown()
}

// trigger makes a trigger of what was typed.
func (f *triggerForm) trigger() (flow.Trigger, error) {
	var problems []error
	duration := func(field, text string) (d config.Duration) {
		if text != "" {
			if err := d.UnmarshalText([]byte(text)); err != nil {
				problems = append(problems, event.Invalidf("%s: %w", field, err))
			}
		}
		return d
	}
	whole := func(field, text string) int {
		n, err := strconv.Atoi(cmp.Or(text, "0"))
		if err != nil {
			problems = append(problems, event.Invalidf("%s: %q is no whole number", field, text))
		}
		return n
	}
	t := flow.NewTrigger()
	t.Name, t.Kind, t.Flow, t.Priority, t.Input, t.Enabled = f.Name, flow.TriggerKind(f.Kind), f.Flow, whole("priority", f.Priority), f.Input, f.Enabled
	t.Emit.Expires, t.Once = duration("emit.expires", f.Expires), f.Once
	off := false
	if f.NotOK {
		t.Emit.OK = &off
	}
	if f.NotError {
		t.Emit.Error = &off
	}
	if f.Limit != "" {
		t.Concurrency = &flow.Concurrency{Limit: whole("concurrency.limit", f.Limit), WhenFull: cmp.Or(f.WhenFull, flow.FullQueue)}
	}
	if t.Kind == flow.OnSchedule {
		f.schedule(&t, duration)
		if err := f.fixed(&t); err != nil {
			problems = append(problems, err)
		}
		return t, errors.Join(problems...)
	}
	t.Types, t.Filter = f.Types, f.Filter
	if f.OnceWithin != "" || f.Within != "" || f.Count != "" || len(f.GroupBy) > 0 {
		t.Throttle = &flow.Throttle{OnceWithin: duration("throttle.once_within", f.OnceWithin), GroupBy: f.GroupBy}
		if f.Within != "" || f.Count != "" {
			t.Throttle.Accumulate = &flow.Accumulate{Within: duration("throttle.accumulate.within", f.Within), Count: whole("throttle.accumulate.count", f.Count)}
		}
	}
	return t, errors.Join(problems...)
}

func (f *triggerForm) schedule(t *flow.Trigger, duration func(field, text string) config.Duration) {
	t.Types = []string{}
	t.Cron, t.Every, t.Timezone = f.Cron, duration("every", f.Every), f.Timezone
	t.Missed, t.Overlap = cmp.Or(f.Missed, flow.MissedLast), cmp.Or(f.Overlap, flow.OverlapSkip)
	t.CatchupWindow, t.Jitter, t.ExpiresAfter = duration("catchup_window", f.Window), duration("jitter", f.Jitter), duration("expires_after", f.ExpiresAfter)
}

// fixed reads the time and the static input of a schedule.
func (f *triggerForm) fixed(t *flow.Trigger) error {
	if f.At != "" {
		at, err := event.ParseTime(f.At)
		if err != nil {
			return event.Invalidf("at: %q is no time such as 2026-11-21T10:00:00Z", f.At)
		}
		t.At = &at
	}
	if f.Data == "" {
		return nil
	}
	t.Data = json.RawMessage(f.Data)
	if err := checkValue(t.Data); err != nil {
		return event.Invalidf("data: %w", err)
	}
	return nil
}

// getNewTrigger shows the form of a new trigger.
func (s *Server) getNewTrigger(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "kind", "flow", "type", "filter")
	if q.err != nil {
		return q.err
	}
	t := flow.NewTrigger()
	t.Flow, t.Filter = q.text("flow"), q.text("filter")
	if q.text("kind") == string(flow.OnSchedule) {
		t.Kind, t.Filter = flow.OnSchedule, ""
	} else if text := q.text("type"); text != "" {
		t.Types = []string{text}
	}
	return s.showTrigger(w, r, triggerView{Form: newTriggerForm(&t)}, nil)
}

// getTriggerPage shows one trigger.
func (s *Server) getTriggerPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	v := triggerView{ID: r.PathValue("id"), Said: told(q, map[string]string{"made": "The trigger is made, and counts from now on.", "saved": "The trigger is saved, and counts from now on."})}
	if q.err != nil {
		return q.err
	}
	t, err := s.triggerOf(r)
	if err != nil {
		return err
	}
	v.Form = newTriggerForm(&t.Value)
	v.Form.Version = strconv.FormatInt(t.Version, 10)
	return s.showTrigger(w, r, v, nil)
}

// triggerOf is the trigger that the path names.
func (s *Server) triggerOf(r *http.Request) (state.Record[flow.Trigger], error) {
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return state.Record[flow.Trigger]{}, err
	}
	return s.Flow.GetTrigger(r.Context(), id)
}

// postTriggerPage saves a trigger, or previews it where another button asks for
// that.
func (s *Server) postTriggerPage(w http.ResponseWriter, r *http.Request) error {
	form, act, err := readTriggerForm(w, r)
	if err != nil {
		return err
	}
	v := triggerView{ID: r.PathValue("id"), Form: form}
	if act == "preview" {
		return s.showTrigger(w, r, v, nil)
	}
	t, err := v.Form.trigger()
	if err != nil {
		return s.showTrigger(w, r, v, err)
	}
	if v.ID == "" {
		made, err := s.Flow.CreateTrigger(r.Context(), cause(r), t)
		if err != nil {
			return s.showTrigger(w, r, v, err)
		}
		http.Redirect(w, r, "/triggers/"+made.ID.String()+"?said=made", http.StatusSeeOther)
		return nil
	}
	id, err := state.ParseID(v.ID)
	if err != nil {
		return err
	}
	version, err := formVersion(form.Version)
	if err != nil {
		return err
	}
	if _, err := s.Flow.UpdateTrigger(r.Context(), cause(r), id, version, func(x *flow.Trigger) error {
		t.Origin = x.Origin
		*x = t
		return nil
	}); err != nil {
		return s.showTrigger(w, r, v, err)
	}
	http.Redirect(w, r, "/triggers/"+v.ID+"?said=saved", http.StatusSeeOther)
	return nil
}

// postTriggerPreview says what the trigger that is being written would do.
func (s *Server) postTriggerPreview(w http.ResponseWriter, r *http.Request) error {
	form, _, err := readTriggerForm(w, r)
	if err != nil {
		return err
	}
	v, err := s.previewTrigger(r, &form)
	if err != nil {
		return err
	}
	return s.render(w, r, "triggerpreview", pageView{Title: "Preview", Says: "When the flow would run.", Active: "/flows", Body: v})
}

// slotsShown is how many coming times a preview shows.
const slotsShown = 8

func (s *Server) previewTrigger(r *http.Request, f *triggerForm) (*triggerPreview, error) {
	v := &triggerPreview{Event: f.Kind != string(flow.OnSchedule), Flow: f.Flow}
	t, err := f.trigger()
	t.Name = cmp.Or(t.Name, "This trigger")
	if _, wrong := state.ParseID(t.Flow); wrong != nil {
		t.Flow = "1" // which flow it is does not matter here
	}
	if err == nil && v.Event {
		v.Rows, err = s.newestOf(r, triggerFilter(&t))
	}
	if err == nil && !v.Event && t.Cron == "" && t.Every == 0 && t.At == nil {
		return v, nil
	}
	if err == nil && !v.Event {
		var slots []time.Time
		slots, err = s.Flow.ComingSlots(&t, time.Now(), slotsShown)
		zone := time.UTC
		if known, e := time.LoadLocation(t.Timezone); e == nil {
			zone = known
		}
		for _, at := range slots {
			v.Slots = append(v.Slots, slotLine{at.UTC(), at.In(zone).Format("Mon 2006-01-02 15:04:05 MST")})
		}
		v.Never = len(slots) == 0
	}
	if err == nil {
		return v, nil
	}
	p, _, unknown := refusal(err)
	if unknown != nil {
		return nil, unknown
	}
	return &triggerPreview{Event: v.Event, Problem: p.Detail}, nil
}

// triggerFilter finds the events for which a trigger runs.
func triggerFilter(t *flow.Trigger) string {
	var types []string
	for _, pattern := range t.Types {
		types = append(types, "glob(type, "+strings.TrimPrefix(equals("", pattern), " == ")+")")
	}
	of := strings.Join(types, " || ")
	switch {
	case t.Filter == "":
		return of
	case of == "":
		return t.Filter
	}
	return "(" + of + ") && (" + t.Filter + ")"
}

func (s *Server) showTrigger(w http.ResponseWriter, r *http.Request, v triggerView, failed error) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	if bad, ok := asFilterError(failed); ok && strings.HasPrefix(failed.Error(), "filter:") {
		v.Mistake = pointAt(v.Form.Filter, bad)
		v.Mistake.Msg = positionText(bad) + ": " + v.Mistake.Msg
	}
	if err := s.offerTrigger(r, &v); err != nil {
		return err
	}
	title, command := "New trigger", "tocsin triggers create trigger.yaml"
	if v.ID != "" {
		if err := s.completeTrigger(r, &v); err != nil {
			return err
		}
		title, command = v.Called, "tocsin triggers show "+v.ID
	}
	if v.Preview, err = s.previewTrigger(r, &v.Form); err != nil {
		return err
	}
	if t, err := v.Form.trigger(); err == nil {
		if v.JSON, v.Curl, err = s.triggerRequest(v.ID, &t); err != nil {
			return err
		}
	}
	return s.renderStatus(w, r, status, "trigger", pageView{Title: title, Says: "When a flow runs, and with what.", Docs: "flows", Active: "/flows", Command: command, Body: v})
}

// triggerRequest is the request that does the same as saving.
func (s *Server) triggerRequest(id string, t *flow.Trigger) (body, curl string, err error) {
	doc, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return "", "", fmt.Errorf("trigger: %w", err)
	}
	method, path := http.MethodPost, "/v1/triggers"
	if id != "" {
		method, path = http.MethodPut, path+"/"+id
	}
	return plain(unescapeHTML.Replace(string(doc))), "curl -X " + method + ` -H "Authorization: Bearer $TOCSIN_TOKEN" -H "Content-Type: application/json" -d @trigger.json ` + s.Base + path, nil
}

// offerTrigger fills in what can be chosen.
func (s *Server) offerTrigger(r *http.Request, v *triggerView) error {
	f := &v.Form
	if f.Kind != string(flow.OnSchedule) {
		f.Kind = string(flow.OnEvent)
	}
	v.Tabs, v.IsAdmin = flowTabs(r, "/triggers"), callerOf(r).principal.Can(identity.Admin)
	names, order, err := s.flowNames(r.Context())
	if err != nil {
		return err
	}
	v.Flows = []choice{{"", "choose a flow", f.Flow == ""}}
	for _, id := range order {
		v.Flows = append(v.Flows, choice{id, names[id], id == f.Flow})
	}
	if f.Flow != "" && !slices.Contains(order, f.Flow) {
		v.Flows = append(v.Flows, choice{f.Flow, flowName(names, f.Flow), true})
	}
	pick := func(now string, all ...choice) []choice {
		for i := range all {
			all[i].On = all[i].Value == now
		}
		return all
	}
	v.Full = pick(f.WhenFull, choice{Value: flow.FullQueue, Text: "wait in the queue"}, choice{Value: flow.FullSkip, Text: "are skipped"}, choice{Value: flow.FullCancelOldest, Text: "cancel the oldest run"})
	v.MissedHow = pick(f.Missed, choice{Value: flow.MissedLast, Text: "run once, for the last one"}, choice{Value: flow.MissedAll, Text: "run for each"}, choice{Value: flow.MissedSkip, Text: "do not run"})
	v.OverlapHow = pick(f.Overlap, choice{Value: flow.OverlapSkip, Text: "skip this one"}, choice{Value: flow.OverlapBufferOne, Text: "run once more afterwards"}, choice{Value: flow.OverlapBufferAll, Text: "run each afterwards"},
		choice{Value: flow.OverlapCancel, Text: "cancel the earlier one"}, choice{Value: flow.OverlapAllow, Text: "run both"})
	for _, e := range s.Catalog.All() {
		v.Known = append(v.Known, string(e.Type))
	}
	v.Zones = commonZones()
	v.Kinds = []link{
		{Text: "For events", Href: "/triggers/new?kind=event&flow=" + f.Flow, On: f.Kind == string(flow.OnEvent)},
		{Text: "At times", Href: "/triggers/new?kind=schedule&flow=" + f.Flow, On: f.Kind == string(flow.OnSchedule)},
	}
	return nil
}

// commonZones are time zones to complete from.
func commonZones() []string {
	return []string{"UTC", "Europe/Berlin", "Europe/London", "Europe/Paris", "America/New_York", "America/Chicago", "America/Los_Angeles", "America/Sao_Paulo", "Asia/Kolkata", "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney"}
}

// completeTrigger adds what a stored trigger has done, and not done.
func (s *Server) completeTrigger(r *http.Request, v *triggerView) error {
	t, err := s.triggerOf(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	v.Called = line(t.Value.Name)
	if t.Value.Origin != "" {
		v.Origin = link{Text: "a flow", Href: "/flows/" + t.Value.Origin}
	}
	skips, err := s.Flow.Skips(ctx)
	if err != nil {
		return err
	}
	v.Skips = skipLines(skips[t.ID])
	runs, err := s.Flow.RunsBehind(ctx, flow.RunQuery{Trigger: t.ID, Limit: lastRuns}, flow.RunPlace{})
	for i := range runs {
		v.Runs = append(v.Runs, newRunLineView(&runs[i]))
	}
	return err
}
