package web

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// serverField is one field of the form about address and mail server.
type serverField struct {
	Name, Label, Value, Note string
	Type                     string // of the input
	Options                  []choice
	Fixed                    string // where the configuration sets it; empty where it can be changed here
}

// serverFields are the fields of the form, with what holds; typed, where somebody
// has just tried something else, stands in its place.
func serverFields(row *settingsRow, typed []serverField) []serverField {
	m := &row.SMTP
	all := []serverField{
		{Name: "public_url", Label: "Public address", Value: row.PublicURL, Type: "url", Note: "Under which others reach this server; links in mails begin with it. It holds from the next start on."},
		{Name: "smtp.host", Label: "Mail server", Value: m.Host, Type: "text", Note: "Empty for none, and no mails. One that is not public must be in egress.allow."},
		{Name: "smtp.port", Label: "Port", Value: strconv.Itoa(m.Port), Type: "number", Note: "587 for starttls, 465 for implicit."},
		{Name: "smtp.tls", Label: "Encryption", Value: m.TLS, Type: "select"},
		{Name: "smtp.from", Label: "Sender", Value: m.From, Type: "email"},
		{Name: "smtp.username", Label: "User name", Value: m.Username, Type: "text", Note: "Empty for none."},
		{Name: "smtp.password", Label: "Password", Type: "password", Note: "Kept sealed. Empty for the one that is there."},
	}
	for i := range all {
		f := &all[i]
		f.Fixed = row.Configured[f.Name]
		for _, t := range typed {
			if t.Name == f.Name && f.Fixed == "" && f.Type != "password" {
				f.Value = t.Value
			}
		}
		if f.Type == "select" {
			for _, mode := range []string{"starttls", "implicit", "none"} {
				f.Options = append(f.Options, choice{Value: mode, Text: mode, On: mode == f.Value})
			}
		}
	}
	return all
}

// postServerPage saves address and mail server. A field that is left empty takes
// its setting back; the password stays then.
func (s *Server) postServerPage(w http.ResponseWriter, r *http.Request) error {
	var names []string
	for _, f := range serverFields(&settingsRow{}, nil) {
		names = append(names, f.Name)
	}
	form, err := readForm(w, r, names...)
	if err != nil {
		return err
	}
	text := func(name string) (m member[string]) {
		m.given = form.Has(name)
		if value := strings.TrimSpace(form.Get(name)); value != "" {
			m.value = &value
		}
		return m
	}
	p := settingsPatch{PublicURL: text("public_url"), SMTP: &smtpPatch{
		Host: text("smtp.host"), Username: text("smtp.username"), From: text("smtp.from"), TLS: text("smtp.tls"), Port: member[int]{given: form.Has("smtp.port")},
	}}
	if value := form.Get("smtp.password"); value != "" {
		p.SMTP.Password = member[string]{true, &value}
	} else if p.SMTP.Username.given && p.SMTP.Username.value == nil {
		p.SMTP.Password.given = true // nobody's password
	}
	if value := strings.TrimSpace(form.Get("smtp.port")); value != "" {
		port, convErr := strconv.Atoi(value)
		if p.SMTP.Port.value = &port; convErr != nil {
			err = event.Invalidf("smtp.port: %q is no port", value)
		}
	}
	if err == nil {
		_, err = s.Settings.update(r.Context(), cause(r), state.AnyVersion, func(v *stored) error {
			if p.PublicURL.value != nil && v.PublicURL == nil && *p.PublicURL.value == s.Base {
				p.PublicURL.given = false // it is what holds without a setting
			}
			p.Retention = v.Retention
			return s.Settings.apply(v, &p)
		})
	}
	if err != nil {
		var typed []serverField
		for _, name := range names {
			if form.Has(name) {
				typed = append(typed, serverField{Name: name, Value: form.Get(name)})
			}
		}
		return s.showSettings(w, r, settingsView{Fields: typed}, err)
	}
	http.Redirect(w, r, "/settings?said=server", http.StatusSeeOther)
	return nil
}
