package program

// raise: the task fails with the error that is written.

func init() { register("raise", compileRaise) }

type raiseTask struct {
	kind, title, detail, instance *template
	status                        *template
}

func compileRaise(c *compiler, n *node, _ *task) runner {
	r := &raiseTask{}
	raise := n.field("raise")
	if !c.object(raise, "raise", "error") {
		return r
	}
	e := raise.field("error")
	if e == nil {
		c.fail(raise, "write error: {type: …, status: …, title: …}", "raise does not say which error")
		return r
	}
	if name, ok := e.text(); ok {
		if e = c.reusable(e, "errors", name); e == nil {
			return r
		}
	}
	c.errorDefinition(e)
	r.kind, r.status = c.template(e.field("type")), c.template(e.field("status"))
	r.title, r.detail, r.instance = c.template(e.field("title")), c.template(e.field("detail")), c.template(e.field("instance"))
	return r
}

// errorDefinition checks an error that is written in the document.
func (c *compiler) errorDefinition(e *node) {
	if !c.object(e, "error", "type", "status", "title", "detail", "instance") {
		return
	}
	c.required(e, "type", "type: "+TypeRuntime)
	switch status := e.field("status"); {
	case status == nil:
		c.fail(e, "write status: 500", "status is missing")
	case status.kind != scalar:
		c.fail(status, "write status: 500", "status is a number, not %s", status.what())
	}
}

func (r *raiseTask) run(x *exec, _ *activation, input any) (any, error) {
	failure := &Error{}
	for _, part := range []struct {
		from *template
		to   *string
	}{{r.kind, &failure.Type}, {r.title, &failure.Title}, {r.detail, &failure.Detail}, {r.instance, &failure.Instance}} {
		if part.from == nil {
			continue
		}
		v, err := x.template(part.from, input)
		if err != nil {
			return nil, err
		}
		*part.to = textOf(v)
	}
	v, err := x.template(r.status, input)
	if err != nil {
		return nil, err
	}
	status, ok := number(v)
	if !ok {
		return nil, Failure(TypeExpression, 400, "the status of an error is a number, not %s", kindName(v))
	}
	failure.Status = int(status)
	return nil, failure
}
