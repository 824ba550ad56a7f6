package web

import (
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// brand is how the server looks and what it is called under some host names.
// Events that come in under them carry its name.
type brand struct {
	Name    string   `json:"name"`  // in events; letters, digits, dashes
	Title   string   `json:"title"` // in pages
	Hosts   []string `json:"hosts"` // names, or *.name for all below it
	Logo    string   `json:"logo"`  // data URL of a PNG, WebP or SVG; empty for none
	Colours colours  `json:"colours"`
}

// colours are #rrggbb; empty ones stay as they are.
type colours struct {
	Accent     string `json:"accent"`      // on white
	AccentDark string `json:"accent_dark"` // on the dark ground
}

const (
	maxLogo     = 64 << 10 // bytes of an image
	minContrast = 4.5      // WCAG 2.2, 1.4.3, level AA
)

// The grounds that an accent must be read on; see app.css.
const (
	lightGround = "#ffffff"
	darkGround  = "#1b1e25"
)

var (
	brandName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)
	brandHost  = regexp.MustCompile(`^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	hexColour  = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)
	logoPrefix = regexp.MustCompile(`^data:(image/(?:png|webp|svg\+xml));base64,`)
)

var brandStore = state.Collection[brand]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "brand", Model: "brand",
	Name:  func(b *brand) string { return b.Name },
	Keys:  func(b *brand) map[string]string { return map[string]string{"name": b.Name} },
	Check: func(b *brand) error { return b.check() },
}

func (b *brand) check() error {
	if !brandName.MatchString(b.Name) {
		return event.Invalidf("name: must be small letters, digits and dashes, at most 64")
	}
	if len(b.Title) > 80 || strings.ContainsFunc(b.Title, deceives) {
		return event.Invalidf("title: at most 80 characters, none of them a control character")
	}
	for _, h := range b.Hosts {
		if len(h) > 253 || !brandHost.MatchString(h) {
			return event.Invalidf("hosts: %q is not a host name in small letters, such as status.example.org or *.example.org", h)
		}
	}
	if _, _, err := b.logo(); err != nil {
		return err
	}
	for _, c := range []struct{ name, colour, ground string }{{"accent", b.Colours.Accent, lightGround}, {"accent_dark", b.Colours.AccentDark, darkGround}} {
		if c.colour == "" {
			continue
		}
		if !hexColour.MatchString(c.colour) {
			return event.Invalidf("colours: %s: %q is not a colour such as #1f5fbf", c.name, c.colour)
		}
		if got := contrast(c.colour, c.ground); got < minContrast {
			return event.Invalidf("colours: %s: %s has a contrast of %.1f on %s; text needs %.1f", c.name, c.colour, got, c.ground, minContrast)
		}
	}
	return nil
}

// logo decodes the image.
func (b *brand) logo() (media string, image []byte, err error) {
	if b.Logo == "" {
		return "", nil, nil
	}
	m := logoPrefix.FindStringSubmatch(b.Logo)
	if m == nil {
		return "", nil, event.Invalidf("logo: must be a data URL of an image/png, image/webp or image/svg+xml in base64")
	}
	image, err = base64.StdEncoding.DecodeString(b.Logo[len(m[0]):])
	if err != nil || len(image) > maxLogo {
		return "", nil, event.Invalidf("logo: must be base64 of at most %d bytes", maxLogo)
	}
	return m[1], image, nil
}

// contrast is the ratio of two colours' luminance (WCAG 2.2).
func contrast(a, b string) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func luminance(colour string) float64 {
	n, err := strconv.ParseUint(colour[1:], 16, 32)
	if err != nil {
		return 0 // the pattern lets nothing else through
	}
	part := func(shift uint) float64 {
		c := float64(n>>shift&255) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*part(16) + 0.7152*part(8) + 0.0722*part(0)
}

// brandSet is what all requests look into; a change replaces it.
type brandSet struct{ all atomic.Pointer[[]brand] }

// LoadBrands reads the brands; New's caller does so once, and every change again.
func (s *Server) LoadBrands(ctx context.Context) error {
	all := []brand{}
	for after := state.ObjectID(0); ; {
		rows, err := brandStore.List(ctx, s.State.Reader(), after, maxPage)
		if err != nil {
			return fmt.Errorf("brands: %w", err)
		}
		if len(rows) == 0 {
			s.brands.all.Store(&all)
			return nil
		}
		for _, r := range rows {
			all = append(all, r.Value)
			after = r.ID
		}
	}
}

// of finds the brand of a host name: the exact name first, then the longest *.name.
func (b *brandSet) of(host string) *brand {
	all := b.all.Load()
	if all == nil || len(*all) == 0 {
		return nil
	}
	host = strings.ToLower(host)
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	var found *brand
	longest := 0
	for i := range *all {
		for _, h := range (*all)[i].Hosts {
			if h == host {
				return &(*all)[i]
			}
			if suffix, ok := strings.CutPrefix(h, "*"); ok && strings.HasSuffix(host, suffix) && len(suffix) > longest {
				found, longest = &(*all)[i], len(suffix)
			}
		}
	}
	return found
}

// hostOf is the host name that the client asked for; a trusted proxy says it in
// X-Forwarded-Host.
func (s *Server) hostOf(r *http.Request) string {
	if forwarded := r.Header.Get("X-Forwarded-Host"); forwarded != "" && fromTrusted(r, s.Proxies()) {
		return forwarded
	}
	return r.Host
}

// brandRow is a brand as the API shows it.
type brandRow struct {
	ID string `json:"id"`
	brand
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

func newBrandRow(r state.Record[brand]) brandRow {
	row := brandRow{r.ID.String(), r.Value, r.Created, r.Updated}
	if row.Hosts == nil {
		row.Hosts = []string{}
	}
	return row
}

func (s *Server) getBrands(w http.ResponseWriter, r *http.Request) error {
	return answerList(w, r, func(ctx context.Context, after state.ObjectID, limit int) ([]state.Record[brand], error) {
		return brandStore.List(ctx, s.State.Reader(), after, limit)
	}, newBrandRow)
}

func (s *Server) getBrand(w http.ResponseWriter, r *http.Request) error {
	return answerOne(w, r, func(ctx context.Context, id state.ObjectID) (state.Record[brand], error) {
		return brandStore.Get(ctx, s.State.Reader(), id)
	}, newBrandRow)
}

// hostsAreFree refuses a host name that another brand has.
func hostsAreFree(ctx context.Context, tx *state.Tx, own state.ObjectID, hosts []string) error {
	rows, err := brandStore.List(ctx, tx, 0, maxPage)
	for _, r := range rows {
		for _, h := range r.Value.Hosts {
			if r.ID != own && slices.Contains(hosts, h) {
				return event.Conflictf("the host %s belongs to the brand %s", h, r.Value.Name)
			}
		}
	}
	return err
}

// changeBrands changes one brand, and then what requests look into.
func (s *Server) changeBrands(r *http.Request, change func(tx *state.Tx) (state.Record[brand], error)) (changed state.Record[brand], err error) {
	err = s.State.Write(r.Context(), cause(r), func(tx *state.Tx) (err error) {
		if changed, err = change(tx); err == nil {
			err = hostsAreFree(r.Context(), tx, changed.ID, changed.Value.Hosts)
		}
		return err
	})
	if err == nil {
		err = s.LoadBrands(context.WithoutCancel(r.Context()))
	}
	return changed, err
}

func (s *Server) postBrands(w http.ResponseWriter, r *http.Request) error {
	var in brand
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	made, err := s.changeBrands(r, func(tx *state.Tx) (state.Record[brand], error) { return brandStore.Insert(tx, in) })
	if err != nil {
		return err
	}
	return answerCreated(w, r, made.ID, made.Version, newBrandRow(made))
}

func (s *Server) putBrand(w http.ResponseWriter, r *http.Request) error {
	id, version, raw, err := changeOf(w, r)
	if err != nil {
		return err
	}
	changed, err := s.changeBrands(r, func(tx *state.Tx) (state.Record[brand], error) {
		return brandStore.Update(tx, id, version, func(b *brand) (err error) {
			*b, err = merge(r, raw, *b)
			return err
		})
	})
	return answerChanged(w, r, changed, newBrandRow, err)
}

func (s *Server) deleteBrand(w http.ResponseWriter, r *http.Request) error {
	return answerDeleted(w, r, func(_ context.Context, _ state.Cause, id state.ObjectID, version int64) error {
		_, err := s.changeBrands(r, func(tx *state.Tx) (state.Record[brand], error) {
			gone, err := brandStore.Delete(tx, id, version)
			gone.Value.Hosts = nil
			return gone, err
		})
		return err
	})
}

// getBrandStyle is the stylesheet of the brand that a page is under.
func (s *Server) getBrandStyle(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	b := s.brands.of(s.hostOf(r))
	if b == nil || b.Colours == (colours{}) {
		return nil
	}
	light, dark := b.Colours.Accent, b.Colours.AccentDark
	if light == "" {
		light = "#1f5fbf"
	}
	if dark == "" {
		dark = "#8ab4f8"
	}
	_, err := fmt.Fprintf(w, ":root { --accent: light-dark(%s, %s); --accent-ground: light-dark(color-mix(in srgb, %s 10%%, #fff), color-mix(in srgb, %s 18%%, %s)); }\n", light, dark, light, dark, darkGround)
	return err
}

// getBrandLogo is its logo. Whoever opens it by itself gets a picture that can do
// nothing.
func (s *Server) getBrandLogo(w http.ResponseWriter, r *http.Request) error {
	b := s.brands.of(s.hostOf(r))
	if b == nil || b.Logo == "" {
		return event.NotFoundf("there is no logo under this host name")
	}
	media, image, err := b.logo()
	if err != nil {
		return err
	}
	head := w.Header()
	head.Set("Content-Type", media)
	head.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
	_, err = w.Write(image)
	return err
}
