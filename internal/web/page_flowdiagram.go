package web

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tocsin-events/tocsin/internal/flow/program"
)

// diagram is a flow as a picture: a column of tasks for every list, boxes within
// boxes, and lines at their sides for what does not lead to the next task. Left
// are the ways back, right the ways forward.
type diagram struct {
	Width, Height int
	Label         string
	Boxes         []diagramBox
	Lines         []diagramLine
	Words         []diagramWord
	Over          int // tasks, where there are too many to draw
}

type diagramBox struct {
	X, Y, W, H int
	Class      string // kind, and what has become of the task
	Name, Note string
	Title      string // all of both
	Dot        bool   // a start or an end: no words
	Frame      bool   // it has others in it
}

// CX is the middle of a dot.
func (b diagramBox) CX() int { return b.X + b.W/2 }

// CY is the height of the middle.
func (b diagramBox) CY() int { return b.Y + b.H/2 }

// TX is where words begin.
func (b diagramBox) TX() int { return b.X + 12 }

// TY is where the name stands.
func (b diagramBox) TY() int { return b.Y + 18 }

// NY is where the note stands.
func (b diagramBox) NY() int { return b.Y + 33 }

type diagramLine struct{ Path string }

type diagramWord struct {
	X, Y int
	End  bool // it stands left of the place
	Text string
}

// Measures of the picture, in pixels at its natural size.
const (
	drawnMost  = 400 // nodes
	glyphWidth = 7   // of a letter of the font, about
	boxLeast   = 120
	boxHeight  = 42
	dotSize    = 12
	headHeight = 40 // of a box with others in it
	padding    = 14
	gap        = 22 // between two boxes
	lane       = 14 // between two lines at a side
	port       = 15 // between two lines that leave a box
	nameMost   = 34 // letters
	wordMost   = 30
)

// drawNode is a node with its place. Places are relative to the box around it
// until all are known.
type drawNode struct {
	program.Node
	x, y, w, h int
}

// drawFlow lays out a flow. state is what has become of tasks, by their reference.
func drawFlow(g *program.Graph, state map[string]string) *diagram {
	d := &diagram{}
	tasks := 0
	for _, n := range g.Nodes {
		if n.Kind != "start" && n.Kind != "end" && n.Kind != "group" {
			tasks++
		}
	}
	d.Label = fmt.Sprintf("Diagram of the flow: %d tasks", tasks)
	if tasks == 1 {
		d.Label = "Diagram of the flow: 1 task"
	}
	if len(g.Nodes) > drawnMost {
		d.Over = tasks
		return d
	}
	l := &layout{d: d, state: state, below: map[string][]*drawNode{}, edges: map[string][]program.Edge{}}
	for i := range g.Nodes {
		n := &drawNode{Node: g.Nodes[i]}
		l.below[n.Parent] = append(l.below[n.Parent], n)
	}
	parent := map[string]string{}
	for i := range g.Nodes {
		parent[g.Nodes[i].ID] = g.Nodes[i].Parent
	}
	for _, e := range g.Edges {
		l.edges[parent[e.From]] = append(l.edges[parent[e.From]], e)
	}
	w, h := l.column("", padding, padding, false)
	l.column("", padding, padding, true)
	d.Width, d.Height = w+2*padding, h+2*padding
	return d
}

type layout struct {
	d     *diagram
	state map[string]string
	below map[string][]*drawNode
	edges map[string][]program.Edge // by the list in which they lie
}

// side is the lines at one side of a column.
type side struct {
	lines []sideLine
	words int // width of the widest, in letters
	lanes int
}

type sideLine struct {
	from, to   int // indices of nodes
	port, lane int
	text       string
}

func (s *side) width() int {
	w := s.lanes * lane
	if s.words > 0 {
		w += 4 + s.words*glyphWidth
	}
	return w
}

// add gives a line the innermost lane that is free along its way.
func (s *side) assign() {
	slices.SortStableFunc(s.lines, func(a, b sideLine) int { return cmp.Compare(abs(a.to-a.from), abs(b.to-b.from)) })
	for i := range s.lines {
		a := &s.lines[i]
		for a.lane = 0; ; a.lane++ {
			if !slices.ContainsFunc(s.lines[:i], func(b sideLine) bool {
				return b.lane == a.lane && min(a.from, a.to) <= max(b.from, b.to) && min(b.from, b.to) <= max(a.from, a.to)
			}) {
				break
			}
		}
		s.lanes, s.words = max(s.lanes, a.lane+1), max(s.words, letters(a.text))
	}
}

func abs(n int) int { return max(n, -n) }

// letters is how wide a text is, about: those of East Asia count twice.
func letters(text string) int {
	n := utf8.RuneCountInString(text)
	for _, r := range text {
		if r >= 0x1100 {
			n++
		}
	}
	return n
}

// short is a text for one line of the picture.
func short(text string, most int) string {
	text = line(text)
	for n := most; letters(text) > most; n-- {
		text = clipTo(strings.TrimSuffix(text, "…"), n)
	}
	return text
}

// column lays out one list at a place, and draws it where it is asked to; the
// size is the same both times.
func (l *layout) column(parent string, x, y int, draw bool) (w, h int) {
	nodes := l.below[parent]
	at := map[string]int{}
	for i, n := range nodes {
		at[n.ID] = i
	}
	left, right, next := l.sides(parent, at)
	for i, n := range nodes {
		l.measure(n)
		n.h = max(n.h, port*(1+ports(left, i))+8, port*(1+ports(right, i))+8)
		if n.Kind == "start" || n.Kind == "end" {
			n.h = dotSize
		}
		w = max(w, n.w)
	}
	h = y
	for i, n := range nodes {
		n.x, n.y = x+left.width()+(w-n.w)/2, h
		h += n.h
		if i+1 < len(nodes) {
			h += gap
			if next[i] != "" {
				h += 6
			}
		}
	}
	if draw {
		for i, n := range nodes {
			l.draw(n)
			if text, ok := next[i]; ok {
				l.down(n, nodes[i+1], text)
			}
		}
		l.around(nodes, left, x+left.width(), -1)
		l.around(nodes, right, x+left.width()+w, 1)
	}
	return w + left.width() + right.width(), h - y
}

func ports(s *side, from int) (n int) {
	for _, a := range s.lines {
		if a.from == from {
			n++
		}
	}
	return n
}

// sides sorts the lines of a list into those that lead on to the next node, with
// their words, and those that go around at the left and at the right.
func (l *layout) sides(parent string, at map[string]int) (left, right *side, next map[int]string) {
	left, right, next = &side{}, &side{}, map[int]string{}
	used := map[int]int{}
	for _, e := range l.edges[parent] {
		from, to := at[e.From], at[e.To]
		text := short(e.Label, wordMost)
		if to == from+1 {
			if was := next[from]; was != "" && text != "" {
				text = short(was+", "+text, 2*wordMost)
			}
			next[from] = text
			continue
		}
		a := sideLine{from: from, to: to, port: used[from], text: text}
		used[from]++
		if to <= from {
			left.lines = append(left.lines, a)
		} else {
			right.lines = append(right.lines, a)
		}
	}
	left.assign()
	right.assign()
	return left, right, next
}

// measure gives a node its size.
func (l *layout) measure(n *drawNode) {
	switch n.Kind {
	case "start", "end":
		n.w, n.h = dotSize, dotSize
		return
	}
	n.w = max(boxLeast, 2*padding+glyphWidth*max(letters(short(n.Name, nameMost)), letters(short(note(n), nameMost))))
	n.h = boxHeight
	inside := l.inside(n, 0, 0, false)
	if inside[0] > 0 {
		n.w, n.h = max(n.w, inside[0]+2*padding), headHeight+inside[1]+padding
	}
}

// inside lays out what a box has in it: one list, or several side by side.
func (l *layout) inside(n *drawNode, x, y int, draw bool) (size [2]int) {
	below := l.below[n.ID]
	if len(below) == 0 {
		return size
	}
	if below[0].Kind != "group" {
		w, h := l.column(n.ID, x, y, draw)
		return [2]int{w, h}
	}
	for i, g := range below {
		if i > 0 {
			size[0] += padding
		}
		before := len(l.d.Boxes)
		w, h := l.column(g.ID, x+size[0]+padding, y+headHeight-padding, draw)
		name := short(g.Name, nameMost)
		g.x, g.y, g.w, g.h = x+size[0], y, max(w, glyphWidth*letters(name))+2*padding, h+headHeight
		size[0] += g.w
		size[1] = max(size[1], g.h)
		if draw {
			l.d.Boxes = slices.Insert(l.d.Boxes, before, diagramBox{X: g.x, Y: g.y, W: g.w, H: g.h, Class: "group", Name: name, Title: line(g.Name), Frame: true})
		}
	}
	return size
}

// note is the second line of a box.
func note(n *drawNode) string {
	if n.Label == "" || n.Label == n.Kind {
		return n.Kind
	}
	return n.Kind + " · " + n.Label
}

// draw draws a node, boxes before what they have in them.
func (l *layout) draw(n *drawNode) {
	class := n.Kind
	if s := l.state[n.ID]; s != "" {
		class += " is-" + s
	}
	b := diagramBox{X: n.x, Y: n.y, W: n.w, H: n.h, Class: class}
	if b.Dot = n.Kind == "start" || n.Kind == "end"; !b.Dot {
		b.Name, b.Note, b.Title = short(n.Name, nameMost), short(note(n), nameMost), line(n.Name+": "+note(n))
		b.Frame = len(l.below[n.ID]) > 0
	}
	before := len(l.d.Boxes)
	l.inside(n, n.x+padding, n.y+headHeight, true)
	l.d.Boxes = slices.Insert(l.d.Boxes, before, b)
}

// down draws a line to the next node.
func (l *layout) down(a, b *drawNode, text string) {
	x := a.x + a.w/2
	l.d.Lines = append(l.d.Lines, diagramLine{fmt.Sprintf("M%d %dV%d", x, a.y+a.h, b.y-1)})
	if text != "" {
		l.d.Words = append(l.d.Words, diagramWord{X: x + 6, Y: a.y + a.h + gap/2 + 6, Text: text})
	}
}

// around draws the lines at a side: -1 is left, 1 is right. edge is where the
// side begins.
func (l *layout) around(nodes []*drawNode, s *side, edge, to int) {
	end := func(n *drawNode) int {
		if to < 0 {
			return n.x
		}
		return n.x + n.w
	}
	for _, a := range s.lines {
		from, target := nodes[a.from], nodes[a.to]
		leave, enter := from.y+port*(a.port+1), target.y+min(target.h/2, boxHeight/2)
		if a.from == a.to {
			enter = leave + port
		}
		x := edge + to*(a.lane*lane+lane/2+2)
		l.d.Lines = append(l.d.Lines, diagramLine{fmt.Sprintf("M%d %dH%dV%dH%d", end(from), leave, x, enter, end(target)+to)})
		if a.text != "" {
			l.d.Words = append(l.d.Words, diagramWord{X: edge + to*(s.lanes*lane+4), Y: leave + 4, End: to < 0, Text: a.text})
		}
	}
}

// file is the picture as a file of its own, which brings its colours along.
func (s *Server) diagramFile(d *diagram) ([]byte, error) {
	var out bytes.Buffer
	err := s.pages.byName["flow"]().ExecuteTemplate(&out, "diagramfile", d)
	return out.Bytes(), err
}
