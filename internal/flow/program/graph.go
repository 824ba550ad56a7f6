package program

import "strconv"

// A Graph is a flow as a picture has it.
type Graph struct {
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
}

// A Node is a task, a case, or the start or end of a list of tasks.
type Node struct {
	ID     string `json:"id"` // a task's reference; the start and the end have names of their own
	Parent string `json:"parent,omitempty"`
	Name   string `json:"name"`
	Kind   string `json:"kind"`            // of the task; start, end, or group for a list in a task
	Label  string `json:"label,omitempty"` // what it does, in a few words
}

// An Edge says what follows.
type Edge struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Label string `json:"label,omitempty"`
}

// Describe draws the flow. Nodes with the same parent belong into one box; edges
// join nodes of one box.
func (p *Program) Describe() Graph {
	g := &Graph{}
	g.list("", p.do)
	return *g
}

func (g *Graph) list(parent string, l *list) {
	start, end := parent+"#start", parent+"#end"
	g.Nodes = append(g.Nodes, Node{ID: start, Parent: parent, Name: "start", Kind: "start"})
	for i, t := range l.tasks {
		g.Nodes = append(g.Nodes, Node{ID: t.ref, Parent: parent, Name: t.name, Kind: t.kind, Label: t.label()})
		g.parts(t)
		if s, ok := t.runner.(*switchTask); ok {
			g.cases(l, t, i, s, end)
			continue
		}
		g.Edges = append(g.Edges, Edge{From: t.ref, To: l.target(t.then, i, end)})
		if t.condition != nil && t.then.kind != goOn {
			g.Edges = append(g.Edges, Edge{From: t.ref, To: l.target(directive{}, i, end), Label: "else"})
		}
	}
	g.Nodes = append(g.Nodes, Node{ID: end, Parent: parent, Name: "end", Kind: "end"})
	first := end
	if len(l.tasks) > 0 {
		first = l.tasks[0].ref
	}
	g.Edges = append(g.Edges, Edge{From: start, To: first})
}

// parts draws the lists inside a task, each in a box of its own where there are several.
func (g *Graph) parts(t *task) {
	for i, p := range t.parts {
		if len(t.parts) == 1 {
			g.list(t.ref, p.list)
			continue
		}
		id := t.ref + "#" + strconv.Itoa(i)
		g.Nodes = append(g.Nodes, Node{ID: id, Parent: t.ref, Name: p.label, Kind: "group"})
		g.list(id, p.list)
	}
}

func (g *Graph) cases(l *list, t *task, i int, s *switchTask, end string) {
	open := true
	for _, option := range s.cases {
		label := option.name
		if option.when != nil {
			label += ": " + option.when.code.Source()
		} else {
			open = false
		}
		g.Edges = append(g.Edges, Edge{From: t.ref, To: l.target(option.then, i, end), Label: label})
	}
	if open {
		g.Edges = append(g.Edges, Edge{From: t.ref, To: l.target(t.then, i, end), Label: "else"})
	}
}

// target is the node that a directive of the i-th task leads to.
func (l *list) target(d directive, i int, end string) string {
	switch {
	case d.kind == goTo:
		return l.tasks[d.index].ref
	case d.kind == goOn && i+1 < len(l.tasks):
		return l.tasks[i+1].ref
	}
	return end
}

// label says in a few words what a task does.
func (t *task) label() string {
	definition, _ := t.definition.(map[string]any)
	switch t.kind {
	case "call":
		with, _ := definition["with"].(map[string]any)
		name := textOf(definition["call"])
		if name == "http" {
			endpoint := with["endpoint"]
			if m, ok := endpoint.(map[string]any); ok {
				endpoint = m["uri"]
			}
			return textOf(with["method"]) + " " + textOf(endpoint)
		}
		if name == "openapi" {
			return textOf(with["operationId"])
		}
		return name
	case "for":
		loop, _ := definition["for"].(map[string]any)
		return "in " + textOf(loop["in"])
	case "wait":
		if text, ok := definition["wait"].(string); ok {
			return text
		}
	case "run":
		run, _ := definition["run"].(map[string]any)
		workflow, _ := run["workflow"].(map[string]any)
		return textOf(workflow["name"])
	case "emit":
		emit, _ := definition["emit"].(map[string]any)
		event, _ := emit["event"].(map[string]any)
		with, _ := event["with"].(map[string]any)
		return textOf(with["type"])
	}
	if t.condition != nil {
		return "if " + t.condition.code.Source()
	}
	return ""
}
