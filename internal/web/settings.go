package web

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strings"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Settings are what administrators change while the server runs. A key of
// public_url and smtp that the configuration gives a value is not changed here.
type Settings struct {
	state      *state.State
	sealer     *state.Sealer
	configured func() *config.Config // as it was read last
	changed    func(context.Context, config.Retention, config.SMTP) error
}

// stored is the settings object: one document. What is nil is not set. The names
// are those of the configuration, so that a diff tells each by itself.
type stored struct {
	Retention retention `json:"retention"`
	PublicURL *string   `json:"public_url,omitempty"`
	Host      *string   `json:"smtp.host,omitempty"`
	Port      *int      `json:"smtp.port,omitempty"`
	Username  *string   `json:"smtp.username,omitempty"`
	Password  *string   `json:"smtp.password,omitempty"` // sealed
	From      *string   `json:"smtp.from,omitempty"`
	TLS       *string   `json:"smtp.tls,omitempty"`
}

type retention struct {
	Default  config.Duration `json:"default"`
	Long     config.Duration `json:"long"`
	Short    config.Duration `json:"short"`
	MaxBytes config.Bytes    `json:"max_bytes"`
}

var settings = state.Collection[stored]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "server", Model: "settings",
	Name: func(*stored) string { return "settings" },
	Keys: func(*stored) map[string]string { return map[string]string{"singleton": "settings"} },
	Check: func(v *stored) error {
		r := config.Retention{Default: v.Retention.Default, Long: v.Retention.Long, Short: v.Retention.Short, MaxBytes: v.Retention.MaxBytes}
		if problems := r.Validate(); len(problems) > 0 {
			return problems[0]
		}
		return nil
	},
}

// NewSettings returns the settings: what is stored, else what the configuration
// says. changed is called with what holds after a change.
func NewSettings(s *state.State, sealer *state.Sealer, configured func() *config.Config, changed func(context.Context, config.Retention, config.SMTP) error) *Settings {
	return &Settings{state: s, sealer: sealer, configured: configured, changed: changed}
}

// Retention is the retention that holds now.
func (s *Settings) Retention(ctx context.Context) (config.Retention, error) {
	now := s.configured().Retention
	r, err := s.load(ctx)
	if err == nil {
		v := r.Value.Retention
		now.Default, now.Long, now.Short, now.MaxBytes = v.Default, v.Long, v.Short, v.MaxBytes
	}
	return now, err
}

// Overlay puts the address and the mail server of the settings into a
// configuration, where that does not say.
func (s *Settings) Overlay(ctx context.Context, c *config.Config) error {
	r, err := s.load(ctx)
	if err != nil {
		return err
	}
	c.PublicURL, c.Significant.SourceBase = s.address(c, &r.Value)
	c.SMTP, err = s.smtp(c, &r.Value)
	return err
}

// address is the public URL, and the base of significant events, that hold with
// some settings.
func (s *Settings) address(c *config.Config, v *stored) (public, significant string) {
	public, significant = c.PublicURL, c.Significant.SourceBase
	if c.Origin["public_url"] != "" || v.PublicURL == nil {
		return public, significant
	}
	if significant == public { // not given, so it is the same
		significant = *v.PublicURL
	}
	return *v.PublicURL, significant
}

// passwordPlace binds the sealed password to where it is kept.
const passwordPlace = "smtp.password"

// smtp is the mail server that holds with some settings.
func (s *Settings) smtp(c *config.Config, v *stored) (config.SMTP, error) {
	out, not := c.SMTP, fixed(c)
	for _, f := range []struct {
		key      string
		to, from *string
	}{
		{"smtp.host", &out.Host, v.Host}, {"smtp.username", &out.Username, v.Username}, {"smtp.from", &out.From, v.From}, {"smtp.tls", &out.TLS, v.TLS},
	} {
		if f.from != nil && not[f.key] == "" {
			*f.to = *f.from
		}
	}
	if v.Port != nil && not["smtp.port"] == "" {
		out.Port = *v.Port
	}
	out.Guarded = out.Host != c.SMTP.Host || out.Port != c.SMTP.Port
	if v.Password != nil && not["smtp.password"] == "" {
		plain, err := s.sealer.Open(passwordPlace, *v.Password)
		if err != nil {
			return out, err
		}
		out.Password = plain
	}
	return out, nil
}

// fixed says which keys are not changed here, and where they are. A password of
// the configuration goes to no other server than its own.
func fixed(c *config.Config) map[string]string {
	all := map[string]string{}
	for _, key := range []string{"public_url", "smtp.host", "smtp.port", "smtp.username", "smtp.from", "smtp.tls"} {
		if where := c.Origin[key]; where != "" {
			all[key] = where
		}
	}
	if where := c.Origin["smtp.password_file"]; where != "" {
		for _, key := range []string{"smtp.host", "smtp.port", "smtp.username", "smtp.tls", "smtp.password"} {
			all[key] = cmp.Or(all[key], where+", with its password")
		}
	}
	return all
}

// load returns the stored settings, or those of the configuration as version 0.
func (s *Settings) load(ctx context.Context) (state.Record[stored], error) {
	r, err := settings.Find(ctx, s.state.Reader(), "singleton", "settings")
	if isNotFound(err) {
		return state.Record[stored]{Value: s.initial()}, nil
	}
	return r, err
}

func (s *Settings) initial() stored {
	i := s.configured().Retention
	return stored{Retention: retention{i.Default, i.Long, i.Short, i.MaxBytes}}
}

// update changes the settings.
func (s *Settings) update(ctx context.Context, by state.Cause, version int64, change func(*stored) error) (r state.Record[stored], err error) {
	err = s.state.Write(ctx, by, func(tx *state.Tx) error {
		found, err := settings.Find(ctx, tx, "singleton", "settings")
		if isNotFound(err) {
			found, err = settings.Insert(tx, s.initial())
			version = state.AnyVersion
		}
		if err != nil {
			return err
		}
		r, err = settings.Update(tx, found.ID, version, change)
		return err
	})
	if err != nil {
		return r, err
	}
	keep, err := s.Retention(ctx)
	if err != nil {
		return r, err
	}
	server, err := s.smtp(s.configured(), &r.Value)
	if err != nil {
		return r, err
	}
	return r, s.changed(ctx, keep, server)
}

// member is a member of a merge patch: given, and then a value or null.
type member[T any] struct {
	given bool
	value *T
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *member[T]) UnmarshalJSON(raw []byte) error {
	m.given, m.value = true, nil
	return json.Unmarshal(raw, &m.value)
}

// settingsPatch is a merge patch of the settings (RFC 7396).
type settingsPatch struct {
	Retention retention      `json:"retention"`
	PublicURL member[string] `json:"public_url"`
	SMTP      *smtpPatch     `json:"smtp"`
}

type smtpPatch struct {
	Host     member[string] `json:"host"`
	Port     member[int]    `json:"port"`
	Username member[string] `json:"username"`
	Password member[string] `json:"password"`
	From     member[string] `json:"from"`
	TLS      member[string] `json:"tls"`
}

// noSMTP is the patch that takes all of it back.
func noSMTP() *smtpPatch {
	text, number := member[string]{given: true}, member[int]{given: true}
	return &smtpPatch{text, number, text, text, text, text}
}

// put changes one setting, where the configuration leaves it to the settings. What
// holds anyway may be said again.
func put[T comparable](name string, fixed map[string]string, m member[T], to **T, holds T) error {
	if !m.given {
		return nil
	}
	if where := fixed[name]; where != "" {
		if m.value != nil && *m.value == holds {
			return nil
		}
		return event.Conflictf("%s is set by %s: change it there", name, where)
	}
	*to = m.value
	return nil
}

// apply changes the settings by a patch, and refuses what could not work.
func (s *Settings) apply(v *stored, p *settingsPatch) error {
	c := s.configured()
	before, err := s.smtp(c, v)
	if err != nil {
		return err
	}
	if p.SMTP == nil {
		p.SMTP = noSMTP()
	}
	m, not := p.SMTP, fixed(c)
	password := m.Password
	if password.value != nil {
		sealed := s.sealer.Close(passwordPlace, *password.value)
		password.value = &sealed
	}
	if url := p.PublicURL.value; url != nil {
		*url = strings.TrimRight(*url, "/")
	}
	v.Retention = p.Retention
	for _, err := range []error{
		put("public_url", not, p.PublicURL, &v.PublicURL, c.PublicURL),
		put("smtp.host", not, m.Host, &v.Host, before.Host), put("smtp.port", not, m.Port, &v.Port, before.Port),
		put("smtp.username", not, m.Username, &v.Username, before.Username), put("smtp.password", not, password, &v.Password, ""),
		put("smtp.from", not, m.From, &v.From, before.From), put("smtp.tls", not, m.TLS, &v.TLS, before.TLS),
	} {
		if err != nil {
			return err
		}
	}
	after, err := s.smtp(c, v)
	if err != nil {
		return err
	}
	// Else whoever changes the server would learn the password.
	if before.Password != "" && !m.Password.given && (after.Host != before.Host || after.Port != before.Port || after.TLS != before.TLS || after.Username != before.Username) {
		return event.Invalidf("smtp.password: give it again, since it would go to another server, in another way or for another user")
	}
	if v.PublicURL != nil {
		if err := config.CheckPublicURL(*v.PublicURL); err != nil {
			return err
		}
	}
	if problems := after.Validate(); len(problems) > 0 {
		return problems[0]
	}
	return nil
}

// settingsRow is the settings as the API shows them: what holds.
type settingsRow struct {
	Retention retention `json:"retention"`
	PublicURL string    `json:"public_url"`
	SMTP      smtpRow   `json:"smtp"`
	// Configured are the keys that the configuration sets, and where.
	Configured map[string]string `json:"configured"`
	// AfterRestart are the keys whose new value holds from the next start on.
	AfterRestart []string `json:"after_restart"`
}

type smtpRow struct {
	Host        string `json:"host"`
	Port        int    `json:"port"`
	Username    string `json:"username"`
	PasswordSet bool   `json:"password_set"`
	From        string `json:"from"`
	TLS         string `json:"tls"`
}

// row shows settings; running is the public URL of this start.
func (s *Settings) row(v *stored, running string) (settingsRow, error) {
	c := s.configured()
	m, err := s.smtp(c, v)
	row := settingsRow{
		Retention: v.Retention, Configured: maps.Clone(fixed(c)), AfterRestart: []string{},
		SMTP: smtpRow{m.Host, m.Port, m.Username, m.Password != "" || m.PasswordFile != "", m.From, m.TLS},
	}
	if row.PublicURL, _ = s.address(c, v); row.PublicURL != running {
		row.AfterRestart = append(row.AfterRestart, "public_url")
	}
	return row, err
}

// getSettings shows what administrators can change while the server runs.
func (s *Server) getSettings(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	found, err := s.Settings.load(r.Context())
	if err != nil {
		return err
	}
	return s.answerSettings(w, &found)
}

func (s *Server) answerSettings(w http.ResponseWriter, found *state.Record[stored]) error {
	row, err := s.Settings.row(&found.Value, s.Base)
	if err != nil {
		return err
	}
	if found.Version > 0 {
		w.Header().Set("ETag", etag(found.Version))
	}
	return writeJSON(w, http.StatusOK, row)
}

// patchSettings changes settings by a merge patch (RFC 7396).
func (s *Server) patchSettings(w http.ResponseWriter, r *http.Request) error {
	version, err := ifMatch(r)
	if err != nil {
		return err
	}
	raw, err := readRaw(w, r)
	if err != nil {
		return err
	}
	changed, err := s.Settings.update(r.Context(), cause(r), version, func(v *stored) error {
		p := settingsPatch{Retention: v.Retention, SMTP: &smtpPatch{}}
		if err := decodeStrict(raw, &p); err != nil {
			return err
		}
		return s.Settings.apply(v, &p)
	})
	if err != nil {
		return preconditionOf(r, err)
	}
	return s.answerSettings(w, &changed)
}
