package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// loginByDevice waits until somebody lets this program in with a browser (RFC
// 8628).
func (c *cli) loginByDevice(ctx context.Context, k *client) error {
	var asked struct {
		DeviceCode string `json:"device_code"`
		UserCode   string `json:"user_code"`
		URI        string `json:"verification_uri"`
		Complete   string `json:"verification_uri_complete"`
		ExpiresIn  int    `json:"expires_in"`
		Interval   int    `json:"interval"`
	}
	const clientID = "tocsin-cli"
	refused, err := k.oauth(ctx, "/v1/auth/device", url.Values{"client_id": {clientID}}, &asked)
	if err != nil {
		return err
	}
	if refused != "" {
		return event.Deniedf("the server does not let programs ask: %s", refused)
	}
	if _, err := fmt.Fprintf(c.out, "Open %s and give the code %s,\nor open %s\n", asked.URI, asked.UserCode, asked.Complete); err != nil {
		return err
	}
	interval := time.Duration(max(asked.Interval, 1)) * time.Second
	ctx, cancel := context.WithTimeout(ctx, time.Duration(asked.ExpiresIn)*time.Second)
	defer cancel()
	for {
		wait := time.NewTimer(interval)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return event.Deniedf("nobody let this program in: the code has expired")
		}
		var got struct {
			Token     string    `json:"access_token"`
			ExpiresAt time.Time `json:"expires_at"`
		}
		form := url.Values{"client_id": {clientID}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {asked.DeviceCode}}
		refused, err := k.oauth(ctx, "/v1/auth/device/token", form, &got)
		switch {
		case err != nil:
			return err
		case refused == "authorization_pending":
		case refused == "slow_down":
			interval += 5 * time.Second // RFC 8628, 3.5
		case refused == "access_denied":
			return event.Deniedf("this program was turned away")
		case refused != "":
			return event.Deniedf("nobody let this program in: %s", refused)
		default:
			if err := c.saveSession(k.base, saved{got.Token, got.ExpiresAt}); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.out, "signed in at %s until %s\n", k.base, got.ExpiresAt.Local().Format("2006-01-02 15:04"))
			return err
		}
	}
}

// oauth sends a form; refused is the error code of an OAuth answer.
func (k *client) oauth(ctx context.Context, path string, form url.Values, into any) (refused string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, k.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("request: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := k.http.Do(r)
	if err != nil {
		return "", event.Unavailablef("%s: %w", k.where, err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		var said struct {
			Error, Detail string
		}
		if err := json.NewDecoder(resp.Body).Decode(&said); err != nil || said.Error == "" {
			return "", event.Unavailablef("%s answers %s %s", k.where, resp.Status, said.Detail)
		}
		return said.Error, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return "", fmt.Errorf("answer of the server: %w", err)
	}
	return "", nil
}
