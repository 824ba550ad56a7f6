package program

// wait: the run goes on after a while. Nothing runs until then.

func init() { register("wait", compileWait) }

type waitTask struct{ span span }

func compileWait(c *compiler, n *node, t *task) runner {
	t.effects = true
	return waitTask{c.span(n.field("wait"))}
}

func (w waitTask) run(x *exec, a *activation, input any) (any, error) {
	d, err := x.span(w.span, input)
	if err != nil {
		return nil, err
	}
	return input, x.pause(a, x.clock.Add(d), "")
}
