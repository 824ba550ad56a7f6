package web

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
)

// The map is an equirectangular projection, two units a degree, from 84° north
// to 60° south: Antarctica sends no events.
const (
	worldWidth  = 720
	worldHeight = 288
	worldNorth  = 84
	worldSouth  = -60
)

func project(lat, lon float64) (x, y float64) { return (lon + 180) * 2, (worldNorth - lat) * 2 }

// topology is as much of TopoJSON as the outline needs: one geometry of
// polygons, whose rings are arcs of differences.
type topology struct {
	Transform struct{ Scale, Translate [2]float64 }
	Arcs      [][][2]int
	Objects   map[string]struct {
		Geometries []struct{ Arcs [][][]int }
	}
}

// worldPath is the outline of the land, as the path of an SVG.
var worldPath = sync.OnceValues(func() (string, error) { //nolint:gochecknoglobals // a constant that takes a moment to make
	raw, err := staticFiles.ReadFile("ui/static/vendor/world/land-110m.json")
	if err != nil {
		return "", fmt.Errorf("world: %w", err)
	}
	var t topology
	if err := json.Unmarshal(raw, &t); err != nil {
		return "", fmt.Errorf("world: %w", err)
	}
	arcs := make([][][2]float64, len(t.Arcs))
	for i, arc := range t.Arcs {
		var x, y int
		for _, d := range arc {
			x, y = x+d[0], y+d[1]
			arcs[i] = append(arcs[i], [2]float64{float64(x)*t.Transform.Scale[0] + t.Transform.Translate[0], float64(y)*t.Transform.Scale[1] + t.Transform.Translate[1]})
		}
	}
	var path strings.Builder
	for _, g := range t.Objects["land"].Geometries {
		for _, polygon := range g.Arcs {
			for _, ring := range polygon {
				appendRing(&path, arcs, ring)
			}
		}
	}
	return path.String(), nil
})

// appendRing draws one ring; an arc's complement means that arc backwards. Where
// the ring leaves the map at one side it goes on at the other: each side is a
// piece of its own.
func appendRing(path *strings.Builder, arcs [][][2]float64, ring []int) {
	pieces := [][][2]int{nil}
	north := false
	point := func(p [2]float64) {
		north = north || p[1] > worldSouth
		x, y := project(p[1], p[0])
		at := [2]int{int(math.Round(x)), int(math.Round(y))}
		piece := &pieces[len(pieces)-1]
		if n := len(*piece); n > 0 {
			last := (*piece)[n-1]
			if last == at {
				return
			}
			if jump := last[0] - at[0]; jump > worldWidth/2 || jump < -worldWidth/2 {
				pieces = append(pieces, nil)
				piece = &pieces[len(pieces)-1]
			}
		}
		*piece = append(*piece, at)
	}
	for _, i := range ring {
		if i >= 0 {
			for _, p := range arcs[i] {
				point(p)
			}
			continue
		}
		for _, p := range slices.Backward(arcs[^i]) {
			point(p)
		}
	}
	if !north {
		return
	}
	if last := len(pieces) - 1; last > 0 { // the ring began in the middle of a piece
		pieces[0] = append(pieces[last], pieces[0]...)
		pieces = pieces[:last]
	}
	for _, piece := range pieces {
		for i, at := range piece {
			command := byte('L')
			if i == 0 {
				command = 'M'
			}
			fmt.Fprintf(path, "%c%d %d", command, at[0], at[1])
		}
		path.WriteByte('Z')
	}
}
