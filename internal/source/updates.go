package source

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/mod/semver"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: the feed is fetched at every interval; its signature is beside it,
// under the same URL with .sig behind.
// Makes: update_available (seed 003), once for each newer version.
// Leaves out: the update itself, and versions before a release (1.2.0-rc.1).
func init() {
	register("updates", "Newer versions of Tocsin, from a signed feed: the key updates of the configuration.", updatesOptions{
		Interval: config.Duration(24 * time.Hour),
	}, newUpdates)
}

type updatesOptions struct {
	Enabled   bool            `yaml:"enabled" doc:"Whether the feed is asked; so it is when updates.feed is set."`
	Feed      string          `yaml:"feed" doc:"URL of the feed."`
	PublicKey string          `yaml:"public_key" doc:"Ed25519 key of who signs the feed: 32 bytes in base64."`
	Interval  config.Duration `yaml:"interval" doc:"How often it is asked; at least 1m."`
}

// maxFeed is the largest feed, in bytes.
const maxFeed = 64 << 10

type updates struct {
	updatesOptions
	key ed25519.PublicKey
}

func newUpdates(o updatesOptions) (Source, error) {
	if !strings.HasPrefix(o.Feed, "https://") && !strings.HasPrefix(o.Feed, "http://") {
		return nil, event.Invalidf("feed: %q is not an http or https URL", o.Feed)
	}
	if time.Duration(o.Interval) < time.Minute {
		return nil, event.Invalidf("interval: %s is shorter than 1m", o.Interval)
	}
	key, err := config.PublicKey(o.PublicKey)
	if err != nil {
		return nil, event.Invalidf("public_key: %w", err)
	}
	return &updates{updatesOptions: o, key: key}, nil
}

// Run implements Source. A feed that can't be had is asked again at the next
// interval, and shown as what is lacking.
func (u *updates) Run(ctx context.Context, env *Env) error {
	tick := time.NewTicker(time.Duration(u.Interval))
	defer tick.Stop()
	for {
		if err := u.look(ctx, env); ctx.Err() != nil {
			return nil
		} else if err != nil {
			env.Status(Unavailable, err.Error())
		} else {
			env.Status(Running, "")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// feed is what the signed list says.
type feed struct {
	Version   string `json:"version"` // the newest release, such as 1.4.2
	Changelog string `json:"changelog"`
}

func (u *updates) look(ctx context.Context, env *Env) error {
	if env.HTTP == nil {
		return errors.New("no way out to the feed")
	}
	content, err := u.fetch(ctx, env.HTTP, u.Feed)
	if err != nil {
		return err
	}
	signature, err := u.fetch(ctx, env.HTTP, u.Feed+".sig")
	if err != nil {
		return err
	}
	signed, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(signature)))
	if err != nil || !ed25519.Verify(u.key, content, signed) {
		return errors.New("the signature of the feed is wrong")
	}
	var f feed
	if err := json.Unmarshal(content, &f); err != nil {
		return fmt.Errorf("the feed can't be read: %w", err)
	}
	newest := canonical(f.Version)
	if !semver.IsValid(newest) {
		return fmt.Errorf("the feed names no version such as 1.4.2, but %q", f.Version)
	}
	told, err := env.Memory.Load(ctx, "told")
	if err != nil || semver.Prerelease(newest) != "" || semver.Compare(newest, canonical(env.Version)) <= 0 || told != "" && semver.Compare(newest, told) <= 0 {
		return err
	}
	data, err := json.Marshal(map[string]string{"new_version": f.Version, "changelog": f.Changelog})
	if err != nil {
		return err
	}
	if err := env.Emit(ctx, newEvent(env, "updates", "update_available", event.Notice, "", data)); err != nil {
		return err
	}
	return env.Memory.Store(ctx, "told", newest)
}

// canonical writes a version as semver wants it. What is no version, such as that
// of a build by hand, is older than every release.
func canonical(version string) string { return "v" + strings.TrimPrefix(version, "v") }

func (u *updates) fetch(ctx context.Context, client *http.Client, url string) (content []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	got, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("the feed can't be had: %w", err)
	}
	defer func() { err = errors.Join(err, got.Body.Close()) }()
	if got.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the feed answers %s", got.Status)
	}
	content, err = io.ReadAll(io.LimitReader(got.Body, maxFeed+1))
	if err == nil && len(content) > maxFeed {
		err = fmt.Errorf("the feed is larger than %d bytes", maxFeed)
	}
	return content, err
}
