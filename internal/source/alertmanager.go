package source

import (
	"github.com/tocsin-events/tocsin/internal/alert"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: the webhook receiver of Prometheus Alertmanager, format 4: groups of
// alerts, again and again while they fire. There is no signature: the secret is
// sent as Bearer token or password (http_config).
// Makes: alert and alert_resolved, once for each fingerprint, start and status.
// Leaves out: groups as such; the group's key and labels are in the data.
// Reference: prometheus.io/docs/alerting/latest/configuration, webhook_config.
func init() {
	registerPush("alertmanager", "Alerts of Prometheus Alertmanager, by its webhook.", alertmanagerOptions{Enabled: true}, newAlertmanager)
}

type alertmanagerOptions struct {
	Enabled    bool   `yaml:"enabled" doc:"Whether alerts are taken."`
	SecretFile string `yaml:"secret_file" doc:"File with the token or password that Alertmanager sends; several lines for several."`
	SecretEnv  string `yaml:"secret_env" doc:"Environment variable with the secret, in place of a file."`
}

type alertmanager struct{ secrets [][]byte }

func newAlertmanager(o alertmanagerOptions) (Push, error) {
	secrets, err := loadSecrets(o.SecretFile, o.SecretEnv)
	return &alertmanager{secrets}, err
}

// Terms implements Push.
func (a *alertmanager) Terms() Terms { return Terms{Signed: a.secrets != nil, Many: true} }

// Verify implements Push.
func (a *alertmanager) Verify(r *Request) error { return bearing(a.secrets, r, "Authorization") }

// Decode implements Push.
func (a *alertmanager) Decode(r *Request) ([]event.Event, error) {
	w, err := alert.DecodeWebhook(r.Body, "4")
	if err != nil {
		return nil, err
	}
	return w.Events("", "alertmanager", "")
}
