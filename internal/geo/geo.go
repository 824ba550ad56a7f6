// Package geo says where an address is and whose network it belongs to, from
// MMDB files that the operator names.
//
// It promises: a lookup never fails an event, whatever the file or the address
// holds; a file that changes is read anew within a minute, and the old one
// serves until the new one is sound; lookups may run concurrently.
package geo

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Files are the paths of the databases; an empty one is not used.
type Files struct{ City, Country, ASN string }

// Network is a network of the operator's own: its addresses have its label as
// asorg, and it as asnetwork, whatever the files say. The longest prefix wins.
type Network struct {
	Prefix netip.Prefix
	Label  string
}

// Place is what is known about an address: strings, as in an event.
type Place struct {
	Country, Continent, City, Lat, Lon string
	ASN, ASOrg, ASNetwork              string
}

// Geo looks addresses up.
type Geo struct {
	log     *slog.Logger
	files   [3]*file  // city, country, asn
	own     []Network // longest prefix first
	cache   atomic.Pointer[cache]
	enabled bool
}

type file struct {
	path   string
	reader atomic.Pointer[maxminddb.Reader]
	stamp  time.Time // modification time of what is loaded; owned by Open, then Run
	size   int64
}

// Open reads the files. A file that can't be read is an error, because it was
// named in the configuration.
func Open(f Files, own []Network, log *slog.Logger) (*Geo, error) {
	g := &Geo{log: log, own: slices.Clone(own), enabled: len(own) > 0}
	slices.SortStableFunc(g.own, func(a, b Network) int { return cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()) })
	g.cache.Store(newCache())
	for i, path := range []string{f.City, f.Country, f.ASN} {
		if path == "" {
			continue
		}
		g.enabled = true
		g.files[i] = &file{path: path}
		if _, err := g.files[i].load(); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// load reads the file if it is another than the loaded one.
func (f *file) load() (changed bool, err error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return false, fmt.Errorf("geo database: %w", err)
	}
	if info.ModTime().Equal(f.stamp) && info.Size() == f.size {
		return false, nil
	}
	// Read into memory: a mapped file that is overwritten in place would end the
	// process with SIGBUS.
	content, err := os.ReadFile(f.path)
	if err != nil {
		return false, fmt.Errorf("geo database: %w", err)
	}
	reader, err := maxminddb.OpenBytes(content)
	if err != nil {
		return false, fmt.Errorf("geo database %s is not an MMDB file: %w", f.path, err)
	}
	f.reader.Store(reader)
	f.stamp, f.size = info.ModTime(), info.Size()
	return true, nil
}

// RefreshEvery is how often Refresh should be called.
const RefreshEvery = 30 * time.Second

// Refresh reads the files that have changed. One that can't be read leaves what
// was read before at work. It belongs to one goroutine.
func (g *Geo) Refresh(ctx context.Context) {
	for _, f := range g.files {
		if f == nil {
			continue
		}
		changed, err := f.load()
		if err != nil {
			g.log.WarnContext(ctx, "geo database is not reloaded", "path", f.path, "err", err)
		}
		if changed {
			g.cache.Store(newCache())
			g.log.InfoContext(ctx, "geo database is reloaded", "path", f.path)
		}
	}
}

// Enrich sets the geo and as attributes of an event from its clientip.
func (g *Geo) Enrich(e *event.Event) {
	if !g.enabled || e.ClientIP == "" {
		return
	}
	p := g.Lookup(e.ClientIP)
	e.GeoCountry, e.GeoContinent, e.GeoCity, e.GeoLat, e.GeoLon = p.Country, p.Continent, p.City, p.Lat, p.Lon
	e.ASN, e.ASOrg, e.ASNetwork = p.ASN, p.ASOrg, p.ASNetwork
}

// Lookup says where an address is; everything is empty for an unknown one.
func (g *Geo) Lookup(address string) Place {
	c := g.cache.Load()
	if p, ok := c.get(address); ok {
		return p
	}
	var p Place
	if ip, err := netip.ParseAddr(address); err == nil {
		ip = ip.Unmap().WithZone("")
		for i, fill := range []func(maxminddb.Result, *Place){fillCity, fillCountry, fillASN} {
			if g.files[i] == nil {
				continue
			}
			if r := g.files[i].reader.Load().Lookup(ip); r.Found() {
				fill(r, &p)
			}
		}
		for _, n := range g.own {
			if n.Prefix.Contains(ip) {
				p.ASN, p.ASOrg, p.ASNetwork = "", n.Label, n.Prefix.String()
				break
			}
		}
	}
	c.put(address, p)
	return p
}

// text reads a string at the first of several paths that has one. Errors mean
// that the file has another shape, and leave the field empty.
func text(r maxminddb.Result, paths ...[]any) string {
	for _, path := range paths {
		var s string
		if r.DecodePath(&s, path...) == nil && s != "" {
			return s
		}
	}
	return ""
}

func float(r maxminddb.Result, paths ...[]any) string {
	for _, path := range paths {
		var f float64
		if r.DecodePath(&f, path...) == nil && f != 0 {
			return strconv.FormatFloat(f, 'f', -1, 64)
		}
		var s string
		if r.DecodePath(&s, path...) == nil && s != "" {
			return s
		}
	}
	return ""
}

// MaxMind nests its fields; the free files have them flat.
func fillCountry(r maxminddb.Result, p *Place) {
	if s := text(r, []any{"country", "iso_code"}, []any{"country_code"}, []any{"registered_country", "iso_code"}); s != "" {
		p.Country = s
	}
	if s := text(r, []any{"continent", "code"}, []any{"continent_code"}); s != "" {
		p.Continent = s
	}
}

func fillCity(r maxminddb.Result, p *Place) {
	fillCountry(r, p)
	p.City = text(r, []any{"city", "names", "en"}, []any{"city"})
	p.Lat = float(r, []any{"location", "latitude"}, []any{"latitude"})
	p.Lon = float(r, []any{"location", "longitude"}, []any{"longitude"})
}

func fillASN(r maxminddb.Result, p *Place) {
	var n uint64
	if r.DecodePath(&n, "autonomous_system_number") == nil && n > 0 {
		p.ASN = strconv.FormatUint(n, 10)
	}
	p.ASOrg = text(r, []any{"autonomous_system_organization"})
	if p.ASN != "" {
		p.ASNetwork = r.Prefix().String()
	}
}

// cache remembers the newest addresses, since the same few send most events.
type cache struct {
	mu         sync.RWMutex // guards young and old
	young, old map[string]Place
}

const cacheSize = 8192

func newCache() *cache { return &cache{young: make(map[string]Place)} }

func (c *cache) get(address string) (Place, bool) {
	c.mu.RLock()
	p, ok := c.young[address]
	if !ok {
		p, ok = c.old[address]
	}
	c.mu.RUnlock()
	return p, ok
}

// put adds to the young half; when that is full it becomes the old one.
func (c *cache) put(address string, p Place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= cacheSize {
		c.old, c.young = c.young, make(map[string]Place, cacheSize)
	}
	c.young[address] = p
}
