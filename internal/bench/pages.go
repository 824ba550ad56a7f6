package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"
)

// Limits of the pages: the time of the slowest one, in milliseconds, and how much
// longer any may take over a full journal than over an empty one.
const (
	pageLimit = 100
	pageRatio = 3
)

// pages compares the pages over a full journal with those over an empty one.
func (b *bench) pages(ctx context.Context) (err error) {
	full, err := b.pageServer(ctx, "full")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, full.stop()) }()
	empty, err := b.pageServer(ctx, "empty")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, empty.stop()) }()
	b.o.Say(fmt.Sprintf("pages: %d events", b.s.small))
	bodies, media := b.bodies(4, 500, b.s.small, 0)
	if _, err := send(ctx, full.url, full.token, media, bodies); err != nil {
		return err
	}
	ours, err := visitor(ctx, full)
	if err != nil {
		return err
	}
	theirs, err := visitor(ctx, empty)
	if err != nil {
		return err
	}
	slowest := Row{Section: "Pages", What: "the slowest of them, p95", Unit: "ms", Theirs: pageLimit, Against: "the limit", Sense: AtMost, Goal: 1}
	for _, p := range []struct{ name, path string }{
		{"overview", "/"},
		{"events of a day", "/events"},
		{"events of 30 days, by type", "/events?since=30d&by=type"},
		{"events that are errors", "/events?since=30d&q=" + url.QueryEscape("severity >= error")},
		{"events with a text", "/events?since=30d&q=" + url.QueryEscape(`"`+commonText+`"`)},
		{"sources, actors and addresses of a day", "/events/facets"},
		{"catalog", "/catalog"},
		{"settings", "/settings"},
	} {
		b.o.Say("pages: " + p.name)
		var long, short samples
		for range b.s.searches {
			if err := errors.Join(ours.visit(ctx, p.path, &long), theirs.visit(ctx, p.path, &short)); err != nil {
				return fmt.Errorf("%s: %w", p.path, err)
			}
		}
		slowest.Ours = max(slowest.Ours, long.at(0.95))
		b.report.add(Row{Section: "Pages", What: p.name + ", p95", Ours: long.at(0.95), Theirs: short.at(0.95), Unit: "ms", Against: "an empty journal", Sense: AtMost, Goal: pageRatio})
	}
	b.report.add(slowest)
	b.report.note("Pages: over HTTP with a session, %d visits of each, the full and the empty journal in turns. A page over an empty journal has no rows to draw.", b.s.searches)
	return nil
}

func (b *bench) pageServer(ctx context.Context, name string) (*server, error) {
	dir, err := b.folder("pages-" + name)
	if err != nil {
		return nil, err
	}
	return startServer(ctx, dir)
}

// browser visits pages with a session.
type browser struct {
	client *http.Client
	url    string
}

func visitor(ctx context.Context, s *server) (*browser, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	v := &browser{&http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, s.url}
	form := url.Values{"username": {"admin"}, "password": {adminPassword}, "next": {"/"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/sign-in", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	got, err := v.client.Do(r)
	if err != nil {
		return nil, err
	}
	if err := got.Body.Close(); err != nil || got.StatusCode != http.StatusSeeOther {
		return nil, errors.Join(fmt.Errorf("sign-in: %s", got.Status), err)
	}
	return v, nil
}

func (v *browser) visit(ctx context.Context, path string, took *samples) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url+path, http.NoBody)
	if err != nil {
		return err
	}
	began := time.Now()
	got, err := v.client.Do(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, got.Body)
	if err = errors.Join(err, got.Body.Close()); err != nil {
		return err
	}
	took.took(began)
	if got.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", got.Status)
	}
	return nil
}
