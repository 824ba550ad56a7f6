package program

import (
	"slices"
	"strings"
)

// call: a request, an operation of an OpenAPI document, a function of the flow's
// own, or one that the server offers.

func init() { register("call", compileCall, "with") }

func compileCall(c *compiler, n *node, t *task) runner {
	name, ok := n.field("call").text()
	if !ok {
		c.fail(n.field("call"), "write call: http", "call takes the name of what to call")
		return setTask{&template{}}
	}
	with := n.field("with")
	if with == nil {
		with = &node{kind: object, path: n.path, line: n.line, column: n.column}
	}
	switch name {
	case "http":
		t.effects = true
		return c.http(with, c.tls(n))
	case "openapi":
		t.effects = true
		return c.openapi(with, c.tls(n))
	case "status":
		return c.status(with)
	case "asyncapi", "grpc", "mcp", "a2a":
		c.fail(n.field("call"), "use call: http", "unsupported task: call %s", name)
		return setTask{&template{}}
	}
	if f := c.root.field("use").field("functions").field(name); f != nil {
		return c.ownFunction(f, name, with, t)
	}
	t.effects = true
	return c.function(n.field("call"), name, with)
}

// status sets what the event about the run says. The last call wins.
func (c *compiler) status(with *node) runner {
	s := &statusTask{}
	if !c.object(with, "status", "status", "message") {
		return s
	}
	if with.field("status") == nil {
		c.fail(with, "write status: done", "status is missing")
	}
	s.status, s.message = c.template(with.field("status")), c.template(with.field("message"))
	return s
}

type statusTask struct{ status, message *template }

func (s *statusTask) run(x *exec, _ *activation, input any) (any, error) {
	var texts [2]string
	for i, t := range []*template{s.status, s.message} {
		if t == nil {
			continue
		}
		v, err := x.template(t, input)
		if err != nil {
			return nil, err
		}
		texts[i] = textOf(v)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.status, x.statusMessage = texts[0], texts[1]
	return input, nil
}

// ownFunction unfolds a function of use.functions: a task whose input is "with".
func (c *compiler) ownFunction(f *node, name string, with *node, t *task) runner {
	if slices.Contains(c.calling, name) {
		c.fail(f, "", "the function %s calls itself", strings.Join(append(c.calling, name), " → "))
		return setTask{&template{}}
	}
	c.calling = append(c.calling, name)
	defer func() { c.calling = c.calling[:len(c.calling)-1] }()
	arguments := c.template(with)
	scope := c.scope // a function does not see the variables of who calls it
	c.scope = make([]string, len(scope))
	inner := c.task(f, name, t.ref+"/"+escape(name), nil)
	c.scope = scope
	t.effects, t.parts = inner.effects, []part{{name, &list{tasks: []*task{inner}}}}
	return &ownFunctionTask{arguments, inner}
}

type ownFunctionTask struct {
	arguments *template
	task      *task
}

func (f *ownFunctionTask) run(x *exec, a *activation, input any) (any, error) {
	arguments, err := x.template(f.arguments, input)
	if err != nil {
		return nil, err
	}
	out, _, err := x.task(a.scope, f.task, arguments)
	return out, err
}

// function compiles a call of what the server offers.
func (c *compiler) function(at *node, name string, with *node) runner {
	f, known := c.options.Functions[name]
	if !known {
		names := []string{"http", "openapi", "status"}
		for n := range c.options.Functions {
			names = append(names, n)
		}
		slices.Sort(names)
		instead := describe(names) + ", and those in use.functions"
		if near := nearest(name, names); near != "" {
			instead = "write call: " + near
		}
		problem := "there is no function %q"
		if strings.Contains(name, "/") || strings.Contains(name, "@") {
			problem, instead = "unsupported task: call of the remote function %q", "define it in use.functions; nothing is fetched to compile a flow"
		}
		c.fail(at, instead, problem, name)
		return setTask{&template{}}
	}
	if f.Parameters != nil {
		names := make([]string, len(f.Parameters))
		for i, p := range f.Parameters {
			names[i] = p.Name
		}
		if with.kind == object && c.object(with, name, names...) {
			for _, p := range f.Parameters {
				if p.Required && with.field(p.Name) == nil {
					c.fail(with, "write "+p.Name+": …", "%s needs %s", name, p.Name)
				}
			}
		}
	}
	return &functionTask{name, c.template(with), f.PassesInput}
}

type functionTask struct {
	name   string
	with   *template
	passes bool
}

func (f *functionTask) run(x *exec, a *activation, input any) (any, error) {
	arguments, err := x.template(f.with, input)
	if err != nil {
		return nil, err
	}
	out, err := x.do(a, Effect{Kind: EffectCall, Function: f.name, Arguments: arguments})
	if err != nil || !f.passes {
		return out, err
	}
	return input, nil
}
