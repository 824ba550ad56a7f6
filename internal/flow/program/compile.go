package program

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
)

// Options are what a document may use besides the language.
type Options struct {
	// Functions are the functions that a flow may call by their name, besides those
	// in its own use.functions. The function status is always there.
	Functions map[string]Function
}

// A Function is one that the engine performs, as an Effect of kind EffectCall.
type Function struct {
	Doc        string      // one sentence
	Parameters []Parameter // what "with" may hold; nil lets anything pass
	// PassesInput makes the task's output its input, whatever the answer is.
	PassesInput bool
}

// A Parameter is a key of a function's "with".
type Parameter struct {
	Name     string
	Required bool
	Doc      string
}

// What a document may hold; functions that call functions unfold to more than is
// written.
const (
	maxTasks       = 10_000
	maxExpressions = 5_000 // each takes some 50 µs to compile
)

// A compiler holds what is known while one document is compiled.
type compiler struct {
	options  Options
	root     *node
	problems []Problem
	scope    []string // variables of loops and catches around, with their $
	most     int      // the longest that scope became
	tasks    int
	codes    int      // expressions
	siblings []string // names of the tasks beside the one that is compiled
	calling  []string // functions of the document that are being unfolded
	secrets  []string
	subflows []Subflow
}

// Compile makes a Program of a document, YAML or JSON. The error is an
// *InvalidError with all problems that were found.
func Compile(document []byte, o Options) (*Program, error) {
	root, problem := parse(document)
	if problem != nil {
		return nil, &InvalidError{[]Problem{*problem}}
	}
	c := &compiler{options: o, root: root}
	p := c.program(root)
	if len(c.problems) > 0 {
		slices.SortStableFunc(c.problems, func(a, b Problem) int {
			return cmpPlaces(a, b)
		})
		return nil, &InvalidError{c.problems}
	}
	sum := sha256.Sum256(document)
	p.hash = hex.EncodeToString(sum[:])
	p.slots = slotScope + c.most
	p.secrets, p.subflows = c.secrets, c.subflows
	return p, nil
}

func cmpPlaces(a, b Problem) int {
	if a.Line != b.Line {
		return a.Line - b.Line
	}
	return a.Column - b.Column
}

func (c *compiler) program(root *node) *Program {
	p := &Program{definition: root.plain()}
	if !c.object(root, "a flow", "document", "input", "use", "do", "timeout", "output", "schedule", "evaluate", "metadata") {
		return p
	}
	c.document(p, root.field("document"))
	c.use(root.field("use"))
	c.evaluate(root.field("evaluate"))
	p.inputSchema, p.inputFrom = c.input(root.field("input"))
	p.outputAs, p.outputSchema = c.output(root.field("output"), "output")
	p.timeout = c.timeout(root.field("timeout"))
	p.schedule = c.schedule(root.field("schedule"))
	do := root.field("do")
	if do == nil {
		c.fail(root, "write do: with a list of tasks", "there is nothing to do")
		return p
	}
	p.do = c.list(do, "/do")
	return p
}

var (
	dslVersion  = regexp.MustCompile(`^1\.0\.\d+(?:-[0-9A-Za-z.-]+)?$`)
	semantic    = regexp.MustCompile(`^\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?$`)
	dnsName     = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?$`)
	placeholder = regexp.MustCompile(`\{([A-Za-z_$][A-Za-z0-9_$.]*)\}`)
)

func (c *compiler) document(p *Program, n *node) {
	if n == nil {
		c.fail(c.root, "write document: with dsl: '1.0.3', namespace, name and version", "the document has no header")
		return
	}
	if !c.object(n, "document", "dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata") {
		return
	}
	if dsl := c.required(n, "dsl", "dsl: '1.0.3'"); dsl != "" && !dslVersion.MatchString(dsl) {
		c.fail(n.field("dsl"), "write dsl: '1.0.3'", "version %s of the language is not understood, only 1.0", dsl)
	}
	p.Name = c.required(n, "name", "name: restart-unit")
	p.Namespace = c.required(n, "namespace", "namespace: default")
	p.Version = c.required(n, "version", "version: '1.0.0'")
	for _, named := range []struct{ field, value string }{{"name", p.Name}, {"namespace", p.Namespace}} {
		if named.value != "" && !dnsName.MatchString(named.value) {
			c.fail(n.field(named.field), "use letters, digits, - and .", "%q is no %s", named.value, named.field)
		}
	}
	if p.Version != "" && !semantic.MatchString(p.Version) {
		c.fail(n.field("version"), "write version: '1.0.0'", "%q is no semantic version", p.Version)
	}
	p.Title, p.Summary = c.optional(n, "title"), c.optional(n, "summary")
	if metadata := n.field("metadata"); metadata != nil {
		p.Metadata, _ = metadata.plain().(map[string]any)
	}
}

func (c *compiler) evaluate(n *node) {
	if n == nil || !c.object(n, "evaluate", "language", "mode") {
		return
	}
	if language, ok := n.field("language").text(); ok && language != "jq" {
		c.fail(n.field("language"), "write language: jq", "expressions in %s are not understood", language)
	}
	if mode, ok := n.field("mode").text(); ok && mode != "strict" && mode != "loose" {
		c.fail(n.field("mode"), "write mode: strict", "%q is no mode", mode)
	} else if mode == "loose" {
		c.fail(n.field("mode"), "write mode: strict, and ${ } around expressions", "mode loose is not understood: a text could be meant as a text or as an expression")
	}
}

// fail notes a problem.
func (c *compiler) fail(n *node, instead, format string, args ...any) {
	const most = 100
	if len(c.problems) >= most {
		return
	}
	p := n.problem(format, args...)
	p.Instead = instead
	c.problems = append(c.problems, p)
}

// object says that n is an object and has only known keys.
func (c *compiler) object(n *node, what string, known ...string) bool {
	if n.kind != object {
		c.fail(n, "", "%s is an object, not %s", what, n.what())
		return false
	}
	for _, f := range n.fields {
		if !slices.Contains(known, f.name) {
			c.unknownKey(n, f, known)
		}
	}
	return true
}

func (c *compiler) unknownKey(n *node, f *field, known []string) {
	instead := "there are " + strings.Join(known, ", ")
	if near := nearest(f.name, known); near != "" {
		instead = "write " + near
	}
	at := &node{path: n.path + "/" + escape(f.name), line: f.line, column: f.column}
	c.fail(at, instead, "the key %q is not known here", f.name)
}

// required is a text that must be there.
func (c *compiler) required(n *node, name, example string) string {
	value := n.field(name)
	if value == nil {
		c.fail(n, "write "+example, "%s is missing", name)
		return ""
	}
	text, ok := value.text()
	if !ok || text == "" {
		c.fail(value, "write "+example, "%s is a text, not %s", name, value.what())
	}
	return text
}

func (c *compiler) optional(n *node, name string) string {
	value := n.field(name)
	text, ok := value.text()
	if value != nil && !ok {
		c.fail(value, "", "%s is a text, not %s", name, value.what())
	}
	return text
}

func (c *compiler) boolean(n *node, otherwise bool) bool {
	if n == nil {
		return otherwise
	}
	value, ok := n.value.(bool)
	if !ok {
		c.fail(n, "write true or false", "this is %s", n.what())
	}
	return value
}

// declare makes variables known to what is compiled until the returned function
// is called, and says where the first one is.
func (c *compiler) declare(names ...string) (slot int, end func()) {
	before := len(c.scope)
	for _, name := range names {
		c.scope = append(c.scope, "$"+name)
	}
	c.most = max(c.most, len(c.scope))
	return slotScope + before, func() { c.scope = c.scope[:before] }
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// variable is the name of a variable that a task makes.
func (c *compiler) variable(n *node, name, otherwise string) string {
	value := n.field(name)
	if value == nil {
		return otherwise
	}
	text, ok := value.text()
	text = strings.TrimPrefix(text, "$")
	if !ok || !variableName.MatchString(text) || slices.Contains(baseVariables(), "$"+text) {
		c.fail(value, "write "+name+": "+otherwise, "%s is the name of a variable, of letters and digits", name)
		return otherwise
	}
	return text
}

// nearest is the known name that was probably meant, or nothing.
func nearest(name string, known []string) string {
	best, distance := "", max(1, len(name)/3)+1
	if len(name) > 64 {
		return ""
	}
	for _, k := range known {
		if d := edits(strings.ToLower(name), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost = 1 + min(before, row[j], row[j+1])
			}
			before, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// describe lists names for a message.
func describe(names []string) string {
	if len(names) == 0 {
		return "there are none"
	}
	return "there are " + strings.Join(names, ", ")
}
