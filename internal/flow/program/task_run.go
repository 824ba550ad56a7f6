package program

// run: another flow runs. Its output is the task's, unless await is false. Scripts,
// shells and containers are never run: a flow is written by people who may not log
// in to the server.

func init() { register("run", compileRun) }

type runTask struct {
	subflow Subflow
	input   *template
}

func compileRun(c *compiler, n *node, t *task) runner {
	r := &runTask{}
	t.effects = true
	run := n.field("run")
	for _, never := range []string{"script", "shell", "container"} {
		if f := run.field(never); f != nil {
			c.fail(f, "call a command that the configuration allows (flows.commands)", "unsupported task: run %s", never)
			return r
		}
	}
	if !c.object(run, "run", "workflow", "await", "return") {
		return r
	}
	workflow := run.field("workflow")
	if workflow == nil {
		c.fail(run, "write workflow: {namespace: …, name: …, version: …}", "run does not say what")
		return r
	}
	if !c.object(workflow, "workflow", "namespace", "name", "version", "input") {
		return r
	}
	r.subflow = Subflow{
		Namespace: c.required(workflow, "namespace", "namespace: default"), Name: c.required(workflow, "name", "name: other-flow"),
		Version: c.optional(workflow, "version"), Await: c.boolean(run.field("await"), true),
	}
	c.subflows = append(c.subflows, r.subflow)
	r.input = c.template(workflow.field("input"))
	return r
}

func (r *runTask) run(x *exec, a *activation, input any) (any, error) {
	flow := r.subflow
	flow.Input = input
	if r.input != nil {
		var err error
		if flow.Input, err = x.template(r.input, input); err != nil {
			return nil, err
		}
	}
	out, err := x.do(a, Effect{Kind: EffectWorkflow, Workflow: &flow})
	if err != nil || flow.Await {
		return out, err
	}
	return input, nil
}
