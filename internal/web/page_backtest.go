package web

import (
	"context"
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/notify"
)

// previewView is what a rule would have told.
type previewView struct {
	Problem  string
	Mistake  *filterProblem
	Window   string
	Test     notify.BackTest
	Graph    *graph
	Shown    []notify.Telling
	Unshown  int
	Whole    bool // there was time enough, or as much as there is
	Took     string
	Reaching time.Time
}

const (
	// previewTime is how long a preview may count, so that nobody waits for a
	// second.
	previewTime = 700 * time.Millisecond
	// backTestPatience is the same for who has asked for all of it.
	backTestPatience = 20 * time.Second
	previewShown     = 5
)

func windowChoices(now string) []choice {
	all := []choice{{"1d", "24 hours", true}, {"7d", "7 days", now == "7d"}, {"30d", "30 days", now == "30d"}}
	all[0].On = !all[1].On && !all[2].On
	return all
}

func windowOf(text string) (string, time.Duration) {
	const day = 24 * time.Hour
	switch text {
	case "7d":
		return "7 days", 7 * day
	case "30d":
		return "30 days", 30 * day
	}
	return "24 hours", day
}

// postRulePreview back-tests the rule that is being written.
func (s *Server) postRulePreview(w http.ResponseWriter, r *http.Request) error {
	form, act, err := readRuleForm(w, r)
	if err != nil {
		return err
	}
	v, err := s.preview(r, &form, act == "all")
	if err != nil {
		return err
	}
	return s.render(w, r, "rulepreview", pageView{Title: "Preview", Says: "What the rule would have told.", Active: "/rules", Body: v})
}

func (s *Server) preview(r *http.Request, f *ruleForm, whole bool) (*previewView, error) {
	rule, err := f.rule(s.userID(r.Context()))
	if err == nil {
		if rule.Name == "" {
			rule.Name = "This rule"
		}
		most := previewTime
		if whole {
			most = backTestPatience
		}
		var v *previewView
		if v, err = s.backTest(r.Context(), rule, r.PostFormValue("window"), most); err == nil {
			v.shorten(previewShown)
			return v, nil
		}
	}
	p, _, unknown := refusal(err)
	if unknown != nil {
		return nil, unknown
	}
	v := &previewView{Problem: p.Detail}
	_, v.Mistake = f.mistake(err)
	return v, nil
}

// backTest runs a back-test and draws it.
func (s *Server) backTest(ctx context.Context, rule notify.Rule, window string, most time.Duration) (*previewView, error) {
	name, span := windowOf(window)
	began := time.Now()
	b, err := s.Notify.TestRuleWithin(ctx, rule, began.Add(-span), most)
	if err != nil {
		return nil, err
	}
	v := &previewView{Window: name, Test: b, Shown: b.First, Whole: most == backTestPatience, Took: event.FormatDuration(time.Since(began).Round(time.Millisecond)), Reaching: b.Until}
	for i := range v.Shown {
		v.Shown[i].Title, v.Shown[i].Text, v.Shown[i].Group = line(v.Shown[i].Title), plain(clipTo(v.Shown[i].Text, clipValue)), line(v.Shown[i].Group)
	}
	v.Unshown = b.Tellings - len(b.First)
	const told, held = "told", "held back, or told with others"
	counts := segment.Counts{}
	for _, step := range b.Steps {
		n := map[string]int64{told: int64(step.Tellings)}
		if rest := step.Matched - step.Tellings; rest > 0 {
			n[held] = int64(rest)
		}
		counts.Buckets = append(counts.Buckets, segment.Bucket{Start: step.Start.UnixNano(), Counts: n})
	}
	v.Graph = drawGraph(&counts, b.Since, began, b.Step, segment.ByType)
	return v, nil
}

func (v *previewView) shorten(most int) {
	if len(v.Shown) > most {
		v.Unshown += len(v.Shown) - most
		v.Shown = v.Shown[:most]
	}
}

// backTestPage is the back-test of a stored rule.
type backTestPage struct {
	Tabs    []link
	ID      string
	Windows []link
	Preview *previewView
	More    string // counts all of it, and takes its time
}

// getBackTest shows what a rule would have told. What takes longer than a page
// may take is counted right afterwards, by a request of its own.
func (s *Server) getBackTest(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "since", "all")
	since, whole := q.text("since"), q.flag("all")
	if q.err != nil {
		return q.err
	}
	x, err := s.ruleOf(r)
	if err != nil {
		return err
	}
	if since == "" {
		since = "7d"
	}
	most := previewTime
	if whole {
		most = backTestPatience
	}
	v := backTestPage{Tabs: ruleTabs("/rules"), ID: x.ID.String()}
	path := "/rules/" + v.ID + "/backtest"
	if v.Preview, err = s.backTest(r.Context(), x.Value, since, most); err != nil {
		return err
	}
	for _, c := range windowChoices(since) {
		v.Windows = append(v.Windows, link{c.Text, path + "?since=" + c.Value, c.On})
		if c.On && v.Preview.Test.Partial && !whole {
			v.More = path + "?since=" + c.Value + "&all=true"
		}
	}
	return s.render(w, r, "backtest", pageView{
		Title: "Back-test: " + line(x.Value.Name), Says: "What this rule would have told, as it stands now. Nothing is sent.", Docs: "notifications", Active: "/rules",
		Command: "tocsin rules test " + v.ID + " --since " + since, Body: v,
	})
}
