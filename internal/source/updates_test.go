package source

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
)

// feedServer answers as a feed does, without a network.
type feedServer struct {
	key    ed25519.PrivateKey
	body   string
	status int
	forged bool
}

func (f *feedServer) RoundTrip(r *http.Request) (*http.Response, error) {
	text := f.body
	if strings.HasSuffix(r.URL.Path, ".sig") {
		signed := ed25519.Sign(f.key, []byte(f.body))
		if f.forged {
			signed[0] ^= 1
		}
		text = base64.StdEncoding.EncodeToString(signed) + "\n"
	}
	return &http.Response{StatusCode: f.status, Status: http.StatusText(f.status), Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

// TestUpdates tells of each newer release once.
func TestUpdates(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	server := &feedServer{key: key, status: http.StatusOK}
	u := &updates{updatesOptions: updatesOptions{Feed: "https://releases.example/tocsin.json"}, key: public}
	var told []string
	env := &Env{
		Version: "1.4.2", Base: "http://t", Log: slog.New(slog.DiscardHandler), Memory: remembered{}, HTTP: &http.Client{Transport: server},
		Emit: func(_ context.Context, events ...event.Event) error {
			for _, e := range events {
				told = append(told, string(e.Type)+" "+string(e.Data))
			}
			return nil
		},
	}
	for _, step := range []struct {
		body, problem string
		status        int
		forged        bool
	}{
		{body: `{"version":"1.4.2"}`},
		{body: `{"version":"1.3.9"}`},
		{body: `{"version":"1.5.0-rc.1"}`},
		{body: `{"version":"1.10.0","changelog":"https://releases.example/1.10.0"}`},
		{body: `{"version":"1.10.0"}`},
		{body: `{"version":"1.9.0"}`},
		{body: `{"version":"v2.0.0"}`},
		{body: `{"version":"3.0.0"}`, forged: true, problem: "signature of the feed is wrong"},
		{body: `{"version":"newest"}`, problem: "names no version"},
		{body: `[]`, problem: "can't be read"},
		{body: `{}`, status: http.StatusNotFound, problem: "answers Not Found"},
		{body: strings.Repeat(" ", maxFeed+1), problem: "larger than"},
	} {
		server.body, server.forged, server.status = step.body, step.forged, http.StatusOK
		if step.status != 0 {
			server.status = step.status
		}
		err := u.look(t.Context(), env)
		if step.problem == "" && err != nil || step.problem != "" && (err == nil || !strings.Contains(err.Error(), step.problem)) {
			t.Errorf("%.40s: %v, want %q", step.body, err, step.problem)
		}
	}
	want := []string{
		`update_available {"changelog":"https://releases.example/1.10.0","new_version":"1.10.0"}`,
		`update_available {"changelog":"","new_version":"v2.0.0"}`,
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	for _, o := range []updatesOptions{{Feed: "ftp://x"}, {Feed: "https://x"}, {Feed: "https://x", Interval: 3600e9, PublicKey: "x"}} {
		if _, err := newUpdates(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
