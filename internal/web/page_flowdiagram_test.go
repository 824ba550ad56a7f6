package web

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tocsin-events/tocsin/internal/flow/program"
)

// drawnGraph makes lists of tasks with lists in them, with jumps in all directions.
func drawnGraph(t *rapid.T) *program.Graph {
	g := &program.Graph{}
	number := 0
	var list func(parent string, depth int)
	list = func(parent string, depth int) {
		ids := []string{parent + "#start"}
		g.Nodes = append(g.Nodes, program.Node{ID: parent + "#start", Parent: parent, Kind: "start"})
		for range rapid.IntRange(0, 4).Draw(t, "tasks") {
			number++
			id := fmt.Sprintf("/do/%d", number)
			ids = append(ids, id)
			g.Nodes = append(g.Nodes, program.Node{ID: id, Parent: parent, Name: rapid.StringN(0, 60, -1).Draw(t, "name"), Kind: "set", Label: rapid.StringN(0, 60, -1).Draw(t, "label")})
			switch inside := rapid.IntRange(0, 5).Draw(t, "inside"); {
			case depth > 2 || inside < 4:
			case inside == 4:
				list(id, depth+1)
			default:
				for branch := range 2 {
					group := fmt.Sprintf("%s#%d", id, branch)
					g.Nodes = append(g.Nodes, program.Node{ID: group, Parent: id, Name: "branch", Kind: "group"})
					list(group, depth+1)
				}
			}
		}
		ids = append(ids, parent+"#end")
		g.Nodes = append(g.Nodes, program.Node{ID: parent + "#end", Parent: parent, Kind: "end"})
		for i := range len(ids) - 1 {
			for range rapid.IntRange(1, 3).Draw(t, "ways") {
				g.Edges = append(g.Edges, program.Edge{From: ids[i], To: ids[rapid.IntRange(1, len(ids)-1).Draw(t, "to")], Label: rapid.StringN(0, 40, -1).Draw(t, "when")})
			}
		}
	}
	list("", 0)
	return g
}

// TestDiagram draws any flow: every task has its box inside of the picture, no box
// lies upon another one unless it is in it, every way is drawn, and the file is XML
// without a script, whatever the names are.
func TestDiagram(t *testing.T) {
	s := &Server{pages: newPages()}
	rapid.Check(t, func(t *rapid.T) {
		g := drawnGraph(t)
		d := drawFlow(g, nil)
		if len(g.Nodes) > drawnMost {
			if d.Over == 0 || len(d.Boxes) > 0 {
				t.Fatalf("%d nodes are drawn", len(g.Nodes))
			}
			return
		}
		if len(d.Boxes) != len(g.Nodes) {
			t.Fatalf("%d boxes for %d nodes", len(d.Boxes), len(g.Nodes))
		}
		for i, a := range d.Boxes {
			if a.X < 0 || a.Y < 0 || a.X+a.W > d.Width || a.Y+a.H > d.Height {
				t.Fatalf("box %+v is not in %d × %d", a, d.Width, d.Height)
			}
			for _, b := range d.Boxes[i+1:] {
				apart := a.X+a.W <= b.X || b.X+b.W <= a.X || a.Y+a.H <= b.Y || b.Y+b.H <= a.Y
				inside := a.Frame && b.X >= a.X && b.Y >= a.Y && b.X+b.W <= a.X+a.W && b.Y+b.H <= a.Y+a.H
				if !apart && !inside {
					t.Fatalf("boxes lie upon one another: %+v and %+v", a, b)
				}
			}
		}
		ways := map[[2]string]bool{}
		for _, e := range g.Edges {
			ways[[2]string{e.From, e.To}] = true
		}
		if len(d.Lines) < len(ways) {
			t.Fatalf("%d lines for %d ways", len(d.Lines), len(ways))
		}
		file, err := s.diagramFile(d)
		if err != nil {
			t.Fatal(err)
		}
		for x := xml.NewDecoder(strings.NewReader(string(file))); ; {
			token, err := x.Token()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatalf("%v in %s", err, file)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "script" {
				t.Fatal("a script")
			}
		}
	})
}

// TestProblemLine points at the place, also in one long line and behind letters of
// several bytes.
func TestProblemLine(t *testing.T) {
	long := strings.Repeat("ä", 200) + "!" + strings.Repeat("x", 500)
	for _, c := range []struct {
		name, text   string
		line, column int
	}{
		{"short", "do:\n  - a: !", 2, 8}, {"long", long, 1, 201}, {"behind the end", "a", 1, 99}, {"no line", "a", 9, 1}, {"nowhere", "a", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := newProblemLine(&program.Problem{Line: c.line, Column: c.column}, strings.Split(c.text, "\n"))
			if c.name == "no line" || c.name == "nowhere" {
				if got.Source != "" {
					t.Errorf("got %+v", got)
				}
				return
			}
			at := len([]rune(got.Pointer)) - 1
			source := []rune(got.Source)
			if len(source) > 130 || c.name != "behind the end" && (at >= len(source) || source[at] != '!') {
				t.Errorf("%q\n%q", got.Source, got.Pointer)
			}
		})
	}
}
