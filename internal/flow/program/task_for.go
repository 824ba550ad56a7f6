package program

// for: tasks for each item of an array. The output of an iteration is the input of
// the next one.

func init() { register("for", compileFor, "while", "do") }

type forTask struct {
	in    *expression
	while *expression
	each  int // slot of the item; the index is in the next
	list  *list
}

func compileFor(c *compiler, n *node, t *task) runner {
	f := &forTask{}
	loop := n.field("for")
	if !c.object(loop, "for", "each", "in", "at") {
		return f
	}
	if f.in = c.expression(loop.field("in")); loop.field("in") == nil {
		c.fail(loop, "write in: .items", "for does not say what to go through")
	}
	slot, end := c.declare(c.variable(loop, "each", "item"), c.variable(loop, "at", "index"))
	defer end()
	f.each = slot
	f.while = c.expression(n.field("while"))
	do := n.field("do")
	if do == nil {
		c.fail(n, "write do: with a list of tasks", "for has nothing to do")
		return f
	}
	f.list = c.list(do, t.ref+"/do")
	t.effects, t.parts = f.list.effects, []part{{"each", f.list}}
	return f
}

func (f *forTask) run(x *exec, a *activation, input any) (any, error) {
	v, err := x.eval(f.in, input)
	if err != nil {
		return nil, err
	}
	items, ok := v.([]any)
	if !ok && v != nil {
		return nil, Failure(TypeExpression, 400, "for goes through an array, not %s", kindName(v))
	}
	s := &scope{parent: a.scope}
	out := input
	for i, item := range items {
		s.n = i
		x.slots[f.each], x.slots[f.each+1] = item, i
		if f.while != nil {
			if holds, err := x.condition(f.while, out); err != nil || !holds {
				return out, err
			}
		}
		if out, err = x.list(s, f.list, out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// kindName is the JSON type of a value, in words.
func kindName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "true or false"
	case string:
		return "a text"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	}
	return "a number"
}
