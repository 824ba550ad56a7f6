package web

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// mapView shows where events came from.
type mapView struct {
	Search        search
	Problem       *filterProblem
	Width, Height int
	Land          string
	Places        []place
	Countries     []place // those without coordinates among them
	Shown, Nobody int64   // events with a place, and without
	More          bool    // there are older ones that were not looked at
	Back          string
	Empty         emptyState
}

// place is how many events came from somewhere.
type place struct {
	X, Y, R     float64
	Name, Title string
	Href        string
	Count       int64
}

// Bounds of one map.
const (
	mapEvents = 2000
	mapTime   = 500 * time.Millisecond
)

// getMapPage draws the newest events that match on a map of the world, with the
// same as a list.
func (s *Server) getMapPage(w http.ResponseWriter, r *http.Request) error {
	found, err := s.readSearch(readQuery(r, "q", "since", "until", "by"))
	v := mapView{Search: found, Width: worldWidth, Height: worldHeight, Back: found.href("/events")}
	page := pageView{Title: "Map", Says: "Where events came from, by the address of the client.", Active: "/events", Command: found.command()}
	if bad, ok := asFilterError(err); ok {
		v.Problem = pointAt(found.Filter, bad)
		page.Body = v
		return s.renderStatus(w, r, http.StatusBadRequest, "map", page)
	}
	if err != nil {
		return err
	}
	if v.Land, err = worldPath(); err != nil {
		return err
	}
	if err := s.placeEvents(r.Context(), &v); err != nil {
		return err
	}
	v.Empty = emptyState{"No event in this time has a place. Places come from the client's address and the databases that geo names in the configuration.", "tocsin events --since 30d"}
	page.Body = v
	return s.render(w, r, "map", page)
}

func (s *Server) placeEvents(ctx context.Context, v *mapView) error {
	q := v.Search.query()
	q.Limit, q.Deadline = mapEvents, v.Search.now.Add(mapTime)
	found, err := s.Journal.Search(ctx, &q)
	if err != nil {
		return err
	}
	v.More = found.Next != 0
	at, countries := map[string]*place{}, map[string]*place{}
	for i := range found.Hits {
		e, err := event.Decode(found.Hits[i].Body)
		if err != nil {
			return fmt.Errorf("event %d: %w", found.Hits[i].Seq, err)
		}
		if code := e.GeoCountry; code != "" {
			if countries[code] == nil {
				href, _ := v.Search.toggled(equals("geo.country", code))
				countries[code] = &place{Name: line(code), Href: href}
			}
			countries[code].Count++
		}
		lat, latErr := strconv.ParseFloat(e.GeoLat, 64)
		lon, lonErr := strconv.ParseFloat(e.GeoLon, 64)
		if latErr != nil || lonErr != nil || math.Abs(lat) > 90 || math.Abs(lon) > 180 {
			v.Nobody++
			continue
		}
		v.Shown++
		key := e.GeoLat + " " + e.GeoLon
		if at[key] == nil {
			x, y := project(max(lat, worldSouth), lon)
			href, _ := v.Search.toggled(equals("geo.lat", e.GeoLat) + " && " + equals("geo.lon", e.GeoLon))
			at[key] = &place{X: x, Y: y, Name: line(cmp.Or(e.GeoCity, e.GeoCountry, key)), Href: href}
			if e.GeoCity != "" && e.GeoCountry != "" {
				at[key].Name += ", " + line(e.GeoCountry)
			}
		}
		at[key].Count++
	}
	v.Places, v.Countries = mostFirst(at), mostFirst(countries)
	return nil
}

// mostFirst are places in the order of how much came from them.
func mostFirst(at map[string]*place) []place {
	var all []place
	for _, p := range slices.SortedFunc(maps.Values(at), func(a, b *place) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) }) {
		p.R = min(2.5+math.Sqrt(float64(p.Count)), 14)
		p.Title = fmt.Sprintf("%s: %d events", p.Name, p.Count)
		all = append(all, *p)
	}
	return all
}
