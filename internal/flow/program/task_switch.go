package program

// switch: the first case whose condition holds says where to go on. The output is
// the input.

func init() { register("switch", compileSwitch) }

type switchTask struct{ cases []switchCase }

type switchCase struct {
	name string
	when *expression // nil always holds
	then directive
}

func compileSwitch(c *compiler, n *node, t *task) runner {
	cases := n.field("switch")
	s := &switchTask{}
	if cases.kind != array || len(cases.items) == 0 {
		c.fail(cases, "write - name: {when: …, then: …}", "switch takes a list of cases")
		return s
	}
	for i, item := range cases.items {
		if item.kind != object || len(item.fields) != 1 {
			c.fail(item, "write - name: {when: …, then: …}", "a case is an object with one key, its name")
			continue
		}
		f := item.fields[0]
		if !c.object(f.value, "a case", "when", "then") {
			continue
		}
		then := f.value.field("then")
		if then == nil {
			c.fail(f.value, "write then: continue", "the case %q does not say where to go", f.name)
		}
		when := f.value.field("when")
		if when == nil && i < len(cases.items)-1 {
			c.fail(f.value, "put it last", "the case %q has no condition: those behind it are never reached", f.name)
		}
		s.cases = append(s.cases, switchCase{f.name, c.expression(when), c.then(then, c.siblings)})
	}
	return s
}

func (s *switchTask) run(x *exec, a *activation, input any) (any, error) {
	for _, option := range s.cases {
		holds := option.when == nil
		if !holds {
			var err error
			if holds, err = x.condition(option.when, input); err != nil {
				return nil, err
			}
		}
		if holds {
			a.then = option.then
			break
		}
	}
	return input, nil
}
