package web

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// secretLine is one secret in the list.
type secretLine struct {
	ID, Name         string
	Version          string
	Created, Updated time.Time
}

type secretsView struct {
	Tabs         []link
	Said         string
	Problem      *problem
	Rows         []secretLine
	Name         string // that was typed
	Revealed, Of string
	Empty        emptyState
}

// getSecretsPage lists secrets by their names.
func (s *Server) getSecretsPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	v := secretsView{Said: told(q, map[string]string{"made": "The secret is stored. Name it in use.secrets of a flow.", "saved": "The secret has its new value. Runs use it from their next task on.", "deleted": "The secret is deleted. Flows that use it fail."})}
	if q.err != nil {
		return q.err
	}
	return s.showSecrets(w, r, v, nil)
}

func (s *Server) showSecrets(w http.ResponseWriter, r *http.Request, v secretsView, failed error) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	found, err := s.Flow.ListSecrets(r.Context(), 0, maxPage)
	if err != nil {
		return err
	}
	for _, x := range found {
		v.Rows = append(v.Rows, secretLine{x.ID.String(), line(x.Value.Name), strconv.FormatInt(x.Version, 10), x.Created, x.Updated})
	}
	v.Tabs = flowTabs(r, "/secrets")
	v.Empty = emptyState{Says: "There is none yet. A flow names the secrets that it uses; nobody sees their values, and no record has them."}
	return s.renderStatus(w, r, status, "secrets", pageView{Title: "Secrets", Says: "Values that flows use by their name, and nobody sees.", Docs: "flows", Active: "/flows", Command: "tocsin secrets list", Body: v})
}

// secretValue is what was typed as JSON: an object of texts as it stands, and
// anything else as one text.
func secretValue(form url.Values) json.RawMessage {
	text := strings.ReplaceAll(form.Get("value"), "\r\n", "\n")
	var parts map[string]string
	if json.Unmarshal([]byte(text), &parts) == nil && len(parts) > 0 {
		return json.RawMessage(text)
	}
	raw, err := json.Marshal(text)
	if err != nil {
		return nil
	}
	return raw
}

// postSecretPage stores a new secret.
func (s *Server) postSecretPage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "name", "value")
	if err != nil {
		return err
	}
	name := strings.TrimSpace(form.Get("name"))
	if _, err := s.Flow.CreateSecret(r.Context(), cause(r), name, secretValue(form)); err != nil {
		return s.showSecrets(w, r, secretsView{Name: name}, err)
	}
	http.Redirect(w, r, "/secrets?said=made", http.StatusSeeOther)
	return nil
}

// postEditSecret gives a secret another value.
func (s *Server) postEditSecret(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "version", "value")
	if err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	version, err := formVersion(form.Get("version"))
	if err != nil {
		return err
	}
	if form.Get("value") == "" {
		return s.showSecrets(w, r, secretsView{}, event.Invalidf("value: the secret is empty"))
	}
	if _, err := s.Flow.UpdateSecret(r.Context(), cause(r), id, version, "", secretValue(form)); err != nil {
		return s.showSecrets(w, r, secretsView{}, err)
	}
	http.Redirect(w, r, "/secrets?said=saved", http.StatusSeeOther)
	return nil
}

// postDeleteSecret removes a secret.
func (s *Server) postDeleteSecret(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	if err := s.Flow.DeleteSecret(r.Context(), cause(r), id, state.AnyVersion); err != nil {
		return s.showSecrets(w, r, secretsView{}, err)
	}
	http.Redirect(w, r, "/secrets?said=deleted", http.StatusSeeOther)
	return nil
}

// postRevealSecret shows a value, to those who give their password again.
func (s *Server) postRevealSecret(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "password")
	if err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	x, err := s.Flow.GetSecret(r.Context(), id)
	if err != nil {
		return err
	}
	value, failed := s.openSecret(r, id, form.Get("password"))
	v := secretsView{}
	if failed == nil {
		v.Of, v.Revealed = line(x.Value.Name), pretty(value)
		var text string
		if json.Unmarshal(value, &text) == nil {
			v.Revealed = plain(text)
		}
	}
	return s.showSecrets(w, r, v, failed)
}
