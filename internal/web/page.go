package web

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/tocsin-events/tocsin/internal/agent"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/source"
)

//go:embed ui/*.html
var templateFiles embed.FS

//go:embed ui/static
var staticFiles embed.FS

// sessionCookie holds the sign-in token of a browser. The API never reads it.
const sessionCookie = "tocsin_session"

// policy is the content security policy of every page: nothing inline, nothing
// from elsewhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// pages renders templates.
type pages struct {
	byName map[string]func() *template.Template // parsed when a page is shown first: all of them need 15 MB
	guard  *http.CrossOriginProtection
}

func newPages() *pages {
	p := &pages{byName: map[string]func() *template.Template{}, guard: http.NewCrossOriginProtection()}
	p.guard.AddInsecureBypassPattern("POST " + unsubscribePath) // what its link says is signed, and no session is used
	shared := template.New("").Funcs(template.FuncMap{
		"exact": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") },
		"iso":   func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") },
		"value": func(t *time.Time) time.Time { return *t },
		"ago":   relative,
		"bytes": byteText,
		"count": func(n any) string {
			switch n := n.(type) {
			case int:
				return countText(int64(n))
			case int64:
				return countText(n)
			case uint64:
				return countText(int64(min(n, math.MaxInt64)))
			default:
				return fmt.Sprint(n)
			}
		},
		"note": func(s agent.Source) string { return source.Note(source.Status(s.Status), s.Lacks, s.LastError) },
		"clip": func(text string) string { return clipTo(text, clipValue) },
		"long": func(text string) bool { return utf8.RuneCountInString(text) > clipValue },
		"size": utf8.RuneCountInString,
	}).Funcs(formFuncs())
	shared = template.Must(shared.ParseFS(templateFiles, "ui/layout.html", "ui/components.html", "ui/part_*.html"))
	names, err := fs.Glob(templateFiles, "ui/page_*.html")
	if err != nil {
		panic("web: templates: " + err.Error()) // the pattern is a constant
	}
	for _, file := range names {
		p.byName[strings.TrimSuffix(strings.TrimPrefix(file, "ui/page_"), ".html")] = sync.OnceValue(func() *template.Template {
			return template.Must(template.Must(shared.Clone()).ParseFS(templateFiles, file))
		})
	}
	return p
}

// view is what every page knows.
type pageView struct {
	Title    string // of the page
	Says     string // the page in one line
	Docs     string // name of its documentation page
	Command  string // the command that does the same
	Active   string // the entry of the navigation, by its path
	Nav      []navEntry
	User     string
	ActsAs   string // the user as whom this one acts
	Version  string
	SignInBy []string // providers, for who is not signed in
	Brand    *brand
	Product  string // what the server is called here
	Body     any
}

// navEntry is one page of the navigation.
type navEntry struct {
	Text, Href, Key string
	On              bool
	Inbox           bool
	New             int // messages of the inbox that were not seen
}

// navigation is what of pageTable somebody may open.
func (s *Server) navigation(p *identity.Principal, active string) []navEntry {
	var all []navEntry
	for _, r := range s.pageTable() {
		if r.nav != "" && (r.scope == known || p.Can(r.scope)) {
			path := strings.TrimSuffix(strings.TrimPrefix(r.pattern, "GET "), "{$}")
			all = append(all, navEntry{Text: r.nav, Href: path, Key: r.key, On: path == active, Inbox: path == "/inbox"})
		}
	}
	return all
}

// countNew puts the number of new messages beside the inbox.
func (s *Server) countNew(ctx context.Context, p *identity.Principal, nav []navEntry) (err error) {
	for i := range nav {
		if nav[i].Inbox && err == nil {
			nav[i].New, err = s.Notify.Unseen(ctx, p.User)
		}
	}
	return err
}

// page wraps a handler of pages: a visitor without a session is asked to sign in,
// and an error is shown as a page.
func (s *Server) page(pattern string, scope identity.Scope, h handler) http.HandlerFunc {
	inner := func(w http.ResponseWriter, r *http.Request) error {
		if err := s.pages.guard.Check(r); err != nil {
			return s.forged(r, err)
		}
		return h(w, r)
	}
	return s.wrap(pattern, func(w http.ResponseWriter, r *http.Request) error {
		head := w.Header()
		head.Set("Content-Security-Policy", policy)
		head.Set("Referrer-Policy", "same-origin")
		who := callerOf(r)
		if scope != open {
			if !s.signedIn(r, who) {
				if s.backToOwn(w, r) {
					return nil
				}
				http.Redirect(w, r, "/sign-in?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
				return nil
			}
			s.renewCookie(w, r)
			if scope != known && !who.principal.Can(scope) {
				return event.Deniedf("this page needs the scope %q, which you do not have", scope)
			}
		}
		return inner(w, r)
	}, s.failPage)
}

// signedIn finds the user behind a browser's cookie.
func (s *Server) signedIn(r *http.Request, who *caller) bool {
	who.principal = s.behind(r, sessionCookie)
	return who.principal != nil
}

// forged records a request that another site has sent.
func (s *Server) forged(r *http.Request, why error) error {
	return errors.Join(event.Deniedf("this form was sent from another site: %w", why), s.suspicious(r, "", "a form was sent from another site"))
}

// render answers with a page.
func (s *Server) render(w http.ResponseWriter, r *http.Request, name string, v pageView) error {
	return s.renderStatus(w, r, http.StatusOK, name, v)
}

func (s *Server) renderStatus(w http.ResponseWriter, r *http.Request, status int, name string, v pageView) error {
	parse := s.pages.byName[name]
	if parse == nil {
		return fmt.Errorf("there is no template %s", name)
	}
	t := parse()
	if p := callerOf(r).principal; p != nil {
		v.User, v.ActsAs, v.Nav = p.Name, p.ActsAs, s.navigation(p, v.Active)
		if err := s.countNew(r.Context(), p, v.Nav); err != nil {
			return err
		}
	}
	if v.User == "" {
		v.SignInBy = s.Identity.Providers()
	}
	v.Version, v.Product = s.Version, "Tocsin"
	if v.Brand = s.brands.of(s.hostOf(r)); v.Brand != nil && v.Brand.Title != "" {
		v.Product = v.Brand.Title
	}
	var out strings.Builder // a template that fails must not leave half a page
	if err := t.ExecuteTemplate(&out, "layout", v); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(out.String())) // fails only where the client has gone
	return nil
}

// failPage shows an error as a page.
func (s *Server) failPage(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.Status == http.StatusInternalServerError {
		s.failed(r, err)
	}
	if err := s.renderStatus(w, r, p.Status, "problem", pageView{Title: p.Title, Says: "This did not work.", Body: p}); err != nil {
		s.Log.ErrorContext(r.Context(), "problem page failed", "err", err)
	}
}

// static serves the stylesheet and the script.
func (s *Server) static() http.Handler {
	files, err := fs.Sub(staticFiles, "ui")
	if err != nil {
		panic("web: static files: " + err.Error()) // the folder is embedded
	}
	inner := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "public, max-age=300")
		inner.ServeHTTP(w, r)
	})
}

// relative is how long ago something was, or when it will be, for people.
func relative(t time.Time) string {
	d := time.Since(t)
	switch {
	case d < -48*time.Hour:
		return fmt.Sprintf("in %d days", int(-d.Hours()/24))
	case d < -2*time.Hour:
		return fmt.Sprintf("in %d h", int(-d.Hours()))
	case d < -time.Minute:
		return fmt.Sprintf("in %d min", int(-d.Minutes()))
	case d < 10*time.Second:
		return "now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}

func byteText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, names := float64(n), []string{"KiB", "MiB", "GiB", "TiB"}
	for _, name := range names {
		f /= unit
		if f < unit || name == "TiB" {
			return fmt.Sprintf("%.1f %s", f, name)
		}
	}
	return ""
}

// countText groups digits by thousands.
func countText(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}
