package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

type settingsView struct {
	Said      string
	Secret    *newSecret
	Retention retentionForm
	Problem   *problem
	Server    settingsRow // with what was typed, where that was refused
	Fields    []serverField
	Journal   JournalStats
	Tokens    []tokenRow
	Scopes    []pair
	Verify    verificationView
	IsAdmin   bool
}

// newSecret is shown once.
type newSecret struct {
	Name string
	Copy pair
}

// retentionForm is the retention as a form has it.
type retentionForm struct{ Default, Long, Short, MaxBytes string }

func newRetentionForm(r retention) retentionForm {
	f := retentionForm{Default: r.Default.String(), Long: r.Long.String(), Short: r.Short.String()}
	if r.MaxBytes > 0 {
		f.MaxBytes = sizeText(int64(r.MaxBytes))
	}
	return f
}

// sizeText writes a size so that it is read back exactly.
func sizeText(n int64) string {
	for _, unit := range []struct {
		name  string
		bytes int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n%unit.bytes == 0 {
			return strconv.FormatInt(n/unit.bytes, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// getSettingsPage shows retention, journal, sources and tokens.
func (s *Server) getSettingsPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	if q.err != nil {
		return q.err
	}
	said := map[string]string{"retention": "The retention is saved.", "server": "Address and mail server are saved.", "reload": "The configuration is reloaded.", "revoked": "The token is revoked."}
	return s.showSettings(w, r, settingsView{Said: said[q.text("said")]}, nil)
}

// showSettings completes what a handler has to say, or why it could not be done.
func (s *Server) showSettings(w http.ResponseWriter, r *http.Request, v settingsView, failed error) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	found, err := s.Settings.load(r.Context())
	if err != nil {
		return err
	}
	if v.Server, err = s.Settings.row(&found.Value, s.Base); err != nil {
		return err
	}
	stats := s.Journal.Stats()
	v.Retention, v.Journal = newRetentionForm(found.Value.Retention), NewJournalStats(&stats)
	v.Fields = serverFields(&v.Server, v.Fields)
	v.Verify, v.IsAdmin = s.verification.view(), callerOf(r).principal.Can(identity.Admin)
	v.Scopes = []pair{
		{"read", "search and look at everything"},
		{"emit", "send events"},
		{"forward", "send events of another Tocsin, as they are"},
		{"admin", "everything"},
	}
	if v.IsAdmin {
		tokens, err := s.Identity.ListTokens(r.Context(), 0, maxPage)
		if err != nil {
			return err
		}
		for _, t := range tokens {
			v.Tokens = append(v.Tokens, newTokenRow(t))
		}
	}
	return s.renderStatus(w, r, status, "settings", pageView{Title: "Settings", Says: "How long events are kept, who may send them, and what is watched.", Active: "/settings", Command: "tocsin journal stats", Body: v})
}

// postVerifyPage starts a verification of the journal.
func (s *Server) postVerifyPage(w http.ResponseWriter, r *http.Request) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	s.verification.start(s.stop, s.Journal)
	http.Redirect(w, r, "/settings/verify", http.StatusSeeOther)
	return nil
}

// getVerifyPage shows how far a verification is, or what it found.
func (s *Server) getVerifyPage(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	body := struct {
		Verify  verificationView
		IsAdmin bool
	}{s.verification.view(), callerOf(r).principal.Can(identity.Admin)}
	return s.render(w, r, "verify", pageView{Title: "Verification", Says: "Nothing that was recorded has been changed or taken out.", Active: "/settings", Command: "tocsin journal verify", Body: body})
}

// parse reads the form. An empty size is no cap.
func (f retentionForm) parse() (retention, error) {
	var out retention
	for _, d := range []struct {
		name, text string
		to         *config.Duration
	}{{"default", f.Default, &out.Default}, {"long", f.Long, &out.Long}, {"short", f.Short, &out.Short}} {
		if err := d.to.UnmarshalText([]byte(strings.TrimSpace(d.text))); err != nil {
			return out, event.Invalidf("%s: %w", d.name, err)
		}
	}
	if err := out.MaxBytes.UnmarshalText([]byte(cmp.Or(strings.TrimSpace(f.MaxBytes), "0"))); err != nil {
		return out, event.Invalidf("size cap: %w", err)
	}
	return out, settings.Check(&stored{Retention: out})
}

type retentionView struct {
	Problem      *problem
	Retention    retentionForm
	Rows         []removedRow
	Events, Kept int64
	Bytes        int64
}

// removedRow is what retention would remove of one class.
type removedRow struct {
	Class         string
	From, To      time.Time
	Events, Bytes int64
	first, last   event.Seq
}

// getRetentionPage shows what another retention would remove, before it is saved.
func (s *Server) getRetentionPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "default", "long", "short", "max_bytes")
	if q.err != nil {
		return q.err
	}
	v := retentionView{Retention: retentionForm{q.text("default"), q.text("long"), q.text("short"), q.text("max_bytes")}}
	status := http.StatusOK
	wanted, err := v.Retention.parse()
	if err != nil {
		v.Problem = problemOf(err)
		status = v.Problem.Status
	} else if err := s.previewRetention(r.Context(), &v, wanted); err != nil {
		return err
	}
	return s.renderStatus(w, r, status, "retention", pageView{
		Title: "Retention", Says: "What a change would remove, before it is made.", Active: "/settings", Command: "curl -X PATCH " + s.Base + "/v1/settings", Body: v,
	})
}

func (s *Server) previewRetention(ctx context.Context, v *retentionView, wanted retention) error {
	now, err := s.Settings.Retention(ctx)
	if err != nil {
		return err
	}
	now.Default, now.Long, now.Short, now.MaxBytes = wanted.Default, wanted.Long, wanted.Short, wanted.MaxBytes
	byClass := map[string]*removedRow{}
	for _, gone := range s.Journal.Preview(s.Policy(&now)) {
		row := byClass[gone.Class.String()]
		if row == nil {
			row = &removedRow{Class: gone.Class.String(), first: gone.First, last: gone.Last}
			byClass[row.Class] = row
		}
		row.first, row.last = min(row.first, gone.First), max(row.last, gone.Last)
		row.Events += int64(gone.Count)
		row.Bytes += gone.Bytes
		v.Events += int64(gone.Count)
		v.Bytes += gone.Bytes
	}
	for _, row := range byClass {
		row.From, row.To = s.recordedAt(row.first), s.recordedAt(row.last)
		v.Rows = append(v.Rows, *row)
	}
	slices.SortFunc(v.Rows, func(a, b removedRow) int { return cmp.Compare(a.Class, b.Class) })
	v.Kept = s.Journal.Stats().Events - v.Events
	return nil
}

// recordedAt is when an event was recorded; the zero time where it can't be read.
func (s *Server) recordedAt(seq event.Seq) time.Time {
	hit, err := s.Journal.Get(seq)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(0, hit.Recorded)
}

// postRetentionPage saves another retention.
func (s *Server) postRetentionPage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "default", "long", "short", "max_bytes")
	if err != nil {
		return err
	}
	wanted, err := retentionForm{form.Get("default"), form.Get("long"), form.Get("short"), form.Get("max_bytes")}.parse()
	if err != nil {
		return err
	}
	if _, err := s.Settings.update(r.Context(), cause(r), state.AnyVersion, func(v *stored) error { v.Retention = wanted; return nil }); err != nil {
		return err
	}
	http.Redirect(w, r, "/settings?said=retention", http.StatusSeeOther)
	return nil
}

// postReloadPage reads the configuration anew.
func (s *Server) postReloadPage(w http.ResponseWriter, r *http.Request) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	if err := s.Reload(r.Context(), cause(r)); err != nil {
		return event.Invalidf("the configuration is not reloaded, the old one stays: %w", err)
	}
	http.Redirect(w, r, "/settings?said=reload", http.StatusSeeOther)
	return nil
}

// postTokenPage makes a token and shows it, this once.
func (s *Server) postTokenPage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "name", "scope", "expires")
	if err != nil {
		return err
	}
	t := identity.Token{Name: strings.TrimSpace(form.Get("name"))}
	for _, scope := range form["scope"] {
		t.Scopes = append(t.Scopes, identity.Scope(scope))
	}
	if text := strings.TrimSpace(form.Get("expires")); text != "" {
		d, err := event.ParseDuration(text)
		if err != nil {
			return event.Invalidf("expires: %w", err)
		}
		at := time.Now().Add(d).UTC()
		t.ExpiresAt = &at
	}
	_, secret, err := s.Identity.CreateToken(r.Context(), cause(r), callerOf(r).principal, t)
	if err != nil {
		return err
	}
	return s.showSettings(w, r, settingsView{Secret: &newSecret{t.Name, pair{"Token", secret}}}, nil)
}

// postRevokeToken revokes a token.
func (s *Server) postRevokeToken(w http.ResponseWriter, r *http.Request) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := s.Identity.DeleteToken(r.Context(), cause(r), id, state.AnyVersion); err != nil {
		return err
	}
	http.Redirect(w, r, "/settings?said=revoked", http.StatusSeeOther)
	return nil
}
