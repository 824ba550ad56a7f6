package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

const (
	versusSection = "Beside Alertmanager: alerts in, webhook out"
	alertmanager  = "prometheus-alertmanager" // the program, as Debian names it
)

// contestant is a server that takes alerts as Alertmanager does, in a process of
// its own, and calls a webhook for each.
type contestant struct {
	name    string
	url     string // also where its process listens
	token   string
	ready   string
	command []string
	environ string
	process *exec.Cmd
}

// versusAlertmanager sends the same alerts to a real Alertmanager and to this
// server, and kills both behind an acknowledgement.
func (b *bench) versusAlertmanager(ctx context.Context) (err error) {
	program, err := exec.LookPath(alertmanager)
	if err != nil || b.o.Program == "" {
		b.report.note("Beside Alertmanager: not measured, since the program %s is not there (Debian: apt install %s).", alertmanager, alertmanager)
		return nil // a rival that is not there is no failure
	}
	dir, err := b.folder("versus")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	to, err := startSink(ctx)
	if err != nil {
		return err
	}
	to.mark = `"alertname":"`
	defer func() { err = errors.Join(err, to.stop()) }()
	var rate, middle, slow, kept [2]samples
	for round := range b.s.versusRounds {
		for side, open := range []func(context.Context, string, *sink) (*contestant, error){b.openTocsin, b.openAlertmanager(program, eachAtOnce)} {
			b.o.Say(fmt.Sprintf("telling, beside Alertmanager: round %d of %d, side %d", round+1, b.s.versusRounds, side+1))
			v, err := b.contest(ctx, filepath.Join(dir, fmt.Sprint(round, "-", side)), to, open)
			if err != nil {
				return err
			}
			rate[side], middle[side] = append(rate[side], v.rate), append(middle[side], v.took.median())
			slow[side], kept[side] = append(slow[side], v.took.at(0.99)), append(kept[side], v.kept)
		}
	}
	byDefault, err := b.keptByDefault(ctx, filepath.Join(dir, "default"), program, to)
	if err != nil {
		return err
	}
	row := func(what, unit string, s *[2]samples, sense Sense) {
		b.report.add(Row{Section: versusSection, What: what, Ours: s[0].median(), Theirs: s[1].median(), Unit: unit, Against: "Alertmanager of Debian", Sense: sense})
	}
	row("alerts that reach the webhook, in requests of 100", "/s", &rate, More)
	row("one alert, from its acknowledgement to the webhook, median", "ms", &middle, Less)
	row("the same, p99", "ms", &slow, Less)
	row(fmt.Sprintf("of %d acknowledged alerts that reach the webhook in the end, SIGKILL right behind the answer", b.s.alerts), "", &kept, More)
	b.report.note("Beside Alertmanager: both are processes of their own, with the same sink in this one. Alertmanager has group_by: ['...'] and group_wait: 0s, so that it calls the webhook for each alert at once, as "+
		"a rule here does. Kept of %d: ours %s, Alertmanager %s in the rounds, and with its default group_wait of 30 s: %s (watched for 40 s). What it keeps it had sent before it was killed: its alerts are in memory. Ours were started by "+
		"`tocsin serve --config tocsin.yaml` (egress.allow: [127.0.0.0/8]) with a webhook transport in the format cloudevents and a rule of the type alert; the others by "+
		"`%s --config.file=alertmanager.yml --storage.path=data --cluster.listen-address=`. The alerts are one POST to /api/v2/alerts; behind its 200 comes `kill -9`, then the same command again; what the sink has 5 s after the last delivery is "+
		"counted once. Measured earlier, and not in this run: falcosidekick kept 28 %%, Alertmanager none, VictoriaLogs half.", b.s.alerts, list(kept[0]), list(kept[1]), byDefault, alertmanager)
	return nil
}

// contestVerdict is what was measured of one side.
type contestVerdict struct {
	rate, kept float64
	took       samples
}

func (b *bench) contest(ctx context.Context, dir string, to *sink, open func(context.Context, string, *sink) (*contestant, error)) (v contestVerdict, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return v, err
	}
	c, err := open(ctx, dir, to)
	if c != nil {
		defer c.kill()
	}
	if err != nil {
		return v, err
	}
	if v.rate, err = b.alertRate(ctx, c, to); err != nil {
		return v, fmt.Errorf("%s: rate: %w", c.name, err)
	}
	if v.took, err = b.alertLatency(ctx, c, to); err != nil {
		return v, fmt.Errorf("%s: latency: %w", c.name, err)
	}
	if v.kept, err = b.alertsKept(ctx, c, to, 5*time.Second); err != nil {
		return v, fmt.Errorf("%s: kill: %w", c.name, err)
	}
	return v, nil
}

// alerts makes the body of a request: so many alerts, each its own.
func alerts(part string, first, n int) []byte {
	now := time.Now().UTC()
	list := make([]map[string]any, n)
	for i := range list {
		list[i] = map[string]any{
			"labels":      map[string]string{"alertname": fmt.Sprintf("%s-%d", part, first+i), "severity": "info", "instance": "web-1:9100"},
			"annotations": map[string]string{"summary": "the disk is nearly full"}, "startsAt": now.Format(time.RFC3339Nano), "endsAt": now.Add(time.Hour).Format(time.RFC3339Nano),
		}
	}
	body, _ := json.Marshal(list) // texts always marshal
	return body
}

func (b *bench) alertRate(ctx context.Context, c *contestant, to *sink) (float64, error) {
	const size = 100
	to.begin(false)
	began := time.Now()
	for first := 0; first < b.s.alerts; first += size {
		if err := c.post(ctx, "/api/v2/alerts", alerts("rate", first, size), nil); err != nil {
			return 0, err
		}
	}
	err := waitFor(ctx, 2*time.Minute, func() (bool, error) { return to.count() >= b.s.alerts, nil })
	return float64(b.s.alerts) / time.Since(began).Seconds(), err
}

func (b *bench) alertLatency(ctx context.Context, c *contestant, to *sink) (took samples, err error) {
	const pause = 10 * time.Millisecond
	to.begin(false)
	acked := map[event.ID]time.Time{}
	began := time.Now()
	for i := range b.s.alerts / 4 {
		if wait := time.Until(began.Add(time.Duration(i) * pause)); wait > 0 {
			time.Sleep(wait)
		}
		if err := c.post(ctx, "/api/v2/alerts", alerts("one", i, 1), nil); err != nil {
			return nil, err
		}
		acked[event.ID(fmt.Sprint("one-", i))] = time.Now()
	}
	return to.delays(ctx, acked)
}

// alertsKept kills the process right behind its answer, starts it again, and
// counts what the sink has once nothing has come for a while.
func (b *bench) alertsKept(ctx context.Context, c *contestant, to *sink, quiet time.Duration) (float64, error) {
	to.begin(false)
	if err := c.post(ctx, "/api/v2/alerts", alerts("kept", 0, b.s.alerts), nil); err != nil {
		return 0, err
	}
	c.kill()
	if err := c.start(ctx); err != nil {
		return 0, err
	}
	last, since := to.count(), time.Now()
	for time.Since(since) < quiet && last < b.s.alerts {
		time.Sleep(50 * time.Millisecond)
		if n := to.count(); n != last {
			last, since = n, time.Now()
		}
	}
	return float64(last), ctx.Err()
}

// keptByDefault is what Alertmanager keeps that gathers alerts for 30 s, as it
// does where nothing else is said.
func (b *bench) keptByDefault(ctx context.Context, dir, program string, to *sink) (string, error) {
	if b.o.Quick {
		return "not measured in a quick run", nil
	}
	b.o.Say("telling, beside Alertmanager: with its default group_wait")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	c, err := b.openAlertmanager(program, "")(ctx, dir, to)
	if err != nil {
		return "", err
	}
	defer c.kill()
	kept, err := b.alertsKept(ctx, c, to, 40*time.Second)
	return fmt.Sprintf("%s of %d", figure(kept), b.s.alerts), err
}

// eachAtOnce makes Alertmanager call for each alert, as soon as it has it.
const eachAtOnce = ", group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 24h"

func (b *bench) openAlertmanager(program, route string) func(context.Context, string, *sink) (*contestant, error) {
	return func(ctx context.Context, dir string, to *sink) (*contestant, error) {
		address, err := freeAddress(ctx)
		if err != nil {
			return nil, err
		}
		config := filepath.Join(dir, "alertmanager.yml")
		text := fmt.Sprintf("route: {receiver: sink%s}\nreceivers: [{name: sink, webhook_configs: [{url: '%s'}]}]\n", route, to.url)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return nil, err
		}
		c := &contestant{name: "Alertmanager", url: "http://" + address, ready: "/-/ready", command: []string{
			program, "--config.file=" + config, "--storage.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address, "--cluster.listen-address=", "--log.level=error",
		}}
		return c, c.start(ctx)
	}
}

func (b *bench) openTocsin(ctx context.Context, dir string, to *sink) (*contestant, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "tocsin.yaml")
	if err := os.WriteFile(config, []byte("egress:\n  allow: [127.0.0.0/8]\n"), 0o600); err != nil {
		return nil, err
	}
	c := &contestant{
		name: "Tocsin", url: "http://" + address, ready: "/readyz", environ: "TOCSIN_ADMIN_PASSWORD=" + adminPassword,
		command: []string{b.o.Program, "serve", "--config", config, "--data", filepath.Join(dir, "data"), "--listen", address},
	}
	if err := c.start(ctx); err != nil {
		return c, err
	}
	var made struct{ Token, ID string }
	for _, step := range []struct {
		path string
		body func() map[string]any
	}{
		{"/v1/auth/token", func() map[string]any { return map[string]any{"username": "admin", "password": adminPassword} }},
		{"/v1/transports", func() map[string]any {
			return map[string]any{"name": "sink", "mode": "webhook", "settings": map[string]string{"url": to.url, "format": "cloudevents"}}
		}},
		{"/v1/rules", func() map[string]any {
			return map[string]any{"name": "alerts", "enabled": true, "types": []string{"alert"}, "transports": []string{made.ID}}
		}},
		{"/v1/tokens", func() map[string]any { return map[string]any{"name": "prometheus", "scopes": []string{"emit"}} }},
	} {
		text, err := json.Marshal(step.body())
		if err != nil {
			return c, err
		}
		if err := c.post(ctx, step.path, text, &made); err != nil {
			return c, err
		}
		if made.Token != "" {
			c.token = made.Token
		}
	}
	return c, nil
}

// freeAddress is a loopback address on which nobody listens.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// start starts the process and waits until it is ready.
func (c *contestant) start(ctx context.Context) error {
	var said bytes.Buffer
	c.process = exec.CommandContext(ctx, c.command[0], c.command[1:]...) //nolint:gosec // the program itself, or the one it is compared with
	c.process.Env, c.process.Stderr = append(os.Environ(), c.environ), &said
	if err := c.process.Start(); err != nil {
		return err
	}
	err := waitFor(ctx, 20*time.Second, func() (bool, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+c.ready, http.NoBody)
		if err != nil {
			return false, err
		}
		got, err := http.DefaultClient.Do(r)
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		return got.StatusCode == http.StatusOK, got.Body.Close()
	})
	if err != nil {
		c.kill()
		return fmt.Errorf("%s does not become ready: %w: %s", c.name, err, said.Bytes())
	}
	return nil
}

// kill ends the process as SIGKILL does, and waits until it is gone.
func (c *contestant) kill() {
	_ = c.process.Process.Kill() // it may be gone already
	_ = c.process.Wait()         // that it was killed is no news
}

// post sends JSON and wants a good answer, of which it reads into answer.
func (c *contestant) post(ctx context.Context, path string, body []byte, answer any) error {
	return postJSON(ctx, c.url+path, c.token, body, answer)
}
