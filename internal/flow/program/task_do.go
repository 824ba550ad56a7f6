package program

// do: tasks in a row.

func init() { register("do", compileDo) }

type doTask struct{ list *list }

func compileDo(c *compiler, n *node, t *task) runner {
	l := c.list(n.field("do"), t.ref+"/do")
	t.effects, t.parts = l.effects, []part{{"", l}}
	return doTask{l}
}

func (d doTask) run(x *exec, a *activation, input any) (any, error) {
	return x.list(a.scope, d.list, input)
}
