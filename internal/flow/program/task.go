package program

import (
	"slices"
	"sort"
	"strconv"
	"strings"
)

// A runner is what one kind of task does. It gets the task's transformed input and
// gives the raw output.
type runner interface {
	run(x *exec, a *activation, input any) (any, error)
}

// A kind is how a task of that kind is compiled.
type kind struct {
	keys    []string // of the task, besides those that all tasks have
	compile func(c *compiler, n *node, t *task) runner
}

// kinds are the tasks of the language by the key that tells them. Each is
// registered by its file.
var kinds = map[string]kind{} //nolint:gochecknoglobals // a registry, filled by init and then only read

// register adds a kind of task.
func register(key string, compile func(c *compiler, n *node, t *task) runner, keys ...string) {
	if _, taken := kinds[key]; taken {
		panic("program: two kinds of task are called " + key)
	}
	kinds[key] = kind{append(keys, key), compile}
}

// A task is one task of a document, compiled.
type task struct {
	name, ref, kind string
	definition      any // the task as it is written
	condition       *expression
	inputSchema     *schema
	inputFrom       *template
	outputAs        *template
	outputSchema    *schema
	exportAs        *template
	exportSchema    *schema
	timeout         *span
	then            directive
	effects         bool // it, or a task in it, does something outside or waits
	runner          runner
	parts           []part // for Describe
}

// A part is a list of tasks inside a task.
type part struct {
	label string
	list  *list
}

// A list is tasks that run one after the other.
type list struct {
	tasks   []*task
	effects bool
}

// A directive says where to go after a task.
type directive struct {
	kind  directiveKind
	index int // of the task in its list, where kind is goTo
}

type directiveKind int

const (
	goOn directiveKind = iota
	goExit
	goEnd
	goTo
)

// list compiles a list of tasks at the given reference.
func (c *compiler) list(n *node, ref string) *list {
	l := &list{}
	if n.kind != array {
		c.fail(n, "write - name: {…} for each task", "tasks are a list, not %s", n.what())
		return l
	}
	if len(n.items) == 0 {
		c.fail(n, "write at least one task", "the list of tasks is empty")
	}
	names := c.names(n)
	for i, item := range n.items {
		if len(item.fields) != 1 {
			l.tasks = append(l.tasks, &task{})
			continue
		}
		f := item.fields[0]
		t := c.task(f.value, f.name, ref+"/"+strconv.Itoa(i)+"/"+escape(f.name), names)
		l.tasks = append(l.tasks, t)
		l.effects = l.effects || t.effects
	}
	return l
}

// names are the names of the tasks in a list, in their order.
func (c *compiler) names(n *node) []string {
	names := make([]string, len(n.items))
	for i, item := range n.items {
		if item.kind != object || len(item.fields) != 1 {
			c.fail(item, "write - name: {…}", "a task is an object with one key, its name; this is %s", item.what())
			continue
		}
		name := item.fields[0].name
		switch {
		case slices.Contains(names[:i], name):
			c.fail(item, "give it another name", "there are two tasks with the name %q", name)
		case name == "" || name == "continue" || name == "exit" || name == "end":
			c.fail(item, "give it another name", "%q can't be the name of a task", name)
		}
		names[i] = name
	}
	return names
}

// task compiles one task. siblings are the names that "then" may name.
func (c *compiler) task(n *node, name, ref string, siblings []string) *task {
	t := &task{name: name, ref: ref}
	if c.tasks++; c.tasks > maxTasks {
		if c.tasks == maxTasks+1 {
			c.fail(n, "", "the flow unfolds to more than %d tasks", maxTasks)
		}
		return t
	}
	if n.kind != object {
		c.fail(n, "", "a task is an object, not %s", n.what())
		return t
	}
	t.definition = n.plain()
	t.kind = c.kindOf(n)
	if t.kind == "" {
		return t
	}
	k := kinds[t.kind]
	c.object(n, "a task", append([]string{"if", "input", "output", "export", "timeout", "then", "metadata"}, k.keys...)...)
	t.condition = c.expression(n.field("if"))
	t.inputSchema, t.inputFrom = c.input(n.field("input"))
	t.timeout = c.timeout(n.field("timeout"))
	around := c.siblings
	c.siblings = siblings
	t.runner = k.compile(c, n, t)
	c.siblings = around
	t.outputAs, t.outputSchema = c.output(n.field("output"), "output")
	t.exportAs, t.exportSchema = c.output(n.field("export"), "export")
	t.then = c.then(n.field("then"), siblings)
	return t
}

// kindOf finds the key that tells the kind of a task.
func (c *compiler) kindOf(n *node) string {
	found := ""
	for _, key := range []string{"for", "try"} { // these have a do or a catch beside them
		if n.field(key) != nil {
			found = key
		}
	}
	for _, f := range n.fields {
		if _, is := kinds[f.name]; is && found == "" {
			found = f.name
		} else if is && f.name != found && !slices.Contains(kinds[found].keys, f.name) {
			c.fail(n, "make two tasks of it", "the task is a %s and a %s", found, f.name)
		}
	}
	if found == "" {
		all := make([]string, 0, len(kinds))
		for key := range kinds {
			all = append(all, key)
		}
		sort.Strings(all)
		instead := "write one of " + strings.Join(all, ", ")
		for _, f := range n.fields {
			if near := nearest(f.name, all); near != "" {
				instead = "write " + near + " instead of " + f.name
			}
		}
		c.fail(n, instead, "the task does not say what to do")
	}
	return found
}

func (c *compiler) then(n *node, siblings []string) directive {
	if n == nil {
		return directive{}
	}
	text, ok := n.text()
	if !ok {
		c.fail(n, "write then: end", "then names a task, or is continue, exit or end")
		return directive{}
	}
	switch text {
	case "continue":
		return directive{}
	case "exit":
		return directive{kind: goExit}
	case "end":
		return directive{kind: goEnd}
	}
	if i := slices.Index(siblings, text); i >= 0 {
		return directive{goTo, i}
	}
	instead := describe(siblings) + ", or continue, exit and end"
	if near := nearest(text, siblings); near != "" {
		instead = "write then: " + near
	}
	c.fail(n, instead, "there is no task %q beside this one", text)
	return directive{}
}

// input compiles an input block.
func (c *compiler) input(n *node) (*schema, *template) {
	if n == nil || !c.object(n, "input", "schema", "from") {
		return nil, nil
	}
	return c.schema(n.field("schema")), c.transform(n.field("from"))
}

// output compiles an output or export block.
func (c *compiler) output(n *node, what string) (*template, *schema) {
	if n == nil || !c.object(n, what, "schema", "as") {
		return nil, nil
	}
	return c.transform(n.field("as")), c.schema(n.field("schema"))
}

// timeout compiles a timeout: a definition, or the name of one in use.timeouts.
func (c *compiler) timeout(n *node) *span {
	if n == nil {
		return nil
	}
	if name, ok := n.text(); ok {
		if n = c.reusable(n, "timeouts", name); n == nil {
			return nil
		}
	}
	if !c.object(n, "timeout", "after") {
		return nil
	}
	after := n.field("after")
	if after == nil {
		c.fail(n, "write after: {minutes: 5}", "after is missing")
		return nil
	}
	s := c.span(after)
	return &s
}

// reusable finds a definition in use.
func (c *compiler) reusable(at *node, block, name string) *node {
	defined := c.root.field("use").field(block)
	if found := defined.field(name); found != nil {
		return found
	}
	var names []string
	if defined != nil {
		for _, f := range defined.fields {
			names = append(names, f.name)
		}
	}
	instead := "define it in use." + block + "; " + describe(names)
	if near := nearest(name, names); near != "" {
		instead = "write " + near
	}
	c.fail(at, instead, "use.%s has no %q", block, name)
	return nil
}
