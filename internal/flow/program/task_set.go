package program

// set: the output is what is written, with its expressions evaluated.

func init() { register("set", compileSet) }

type setTask struct{ value *template }

func compileSet(c *compiler, n *node, _ *task) runner {
	value := n.field("set")
	text, isText := value.text()
	if _, wrapped := unwrap(text); value.kind != object && (!isText || !wrapped) {
		c.fail(value, "write set: {name: value}", "set takes an object or an expression in ${ }, not %s", value.what())
		return setTask{&template{}}
	}
	return setTask{c.template(value)}
}

func (s setTask) run(x *exec, _ *activation, input any) (any, error) {
	return x.template(s.value, input)
}
