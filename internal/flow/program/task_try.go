package program

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"time"
)

// try: tasks whose errors are caught, tried again, or handled by other tasks. The
// output is that of the tasks, or of those in catch.do; where an error is caught
// and nothing handles it, it is the input.

func init() { register("try", compileTry, "catch") }

type tryTask struct {
	list             *list
	with             []want // what the error must be
	when, exceptWhen *expression
	slot             int // of the variable with the error
	retry            *retry
	handler          *list
}

// A want is what a field of an error must be.
type want struct {
	field string
	value *template
}

// A retry says when to try again (DSL reference, "Retry").
type retry struct {
	when, exceptWhen  *expression
	delay             span
	backoff           string // constant, linear, exponential
	factor            float64
	increment, most   span
	jitterFrom        span
	jitterTo          span
	attempts          *template // nil for as many as the limits of a run allow
	duration, attempt *span     // in all, and of each attempt
}

func compileTry(c *compiler, n *node, t *task) runner {
	r := &tryTask{}
	r.list = c.list(n.field("try"), t.ref+"/try")
	t.effects, t.parts = r.list.effects, []part{{"try", r.list}}
	catch := n.field("catch")
	if catch == nil {
		c.fail(n, "write catch: {}", "try without catch")
		return r
	}
	if !c.object(catch, "catch", "errors", "as", "when", "exceptWhen", "retry", "do") {
		return r
	}
	if errs := catch.field("errors"); errs != nil && c.object(errs, "errors", "with") {
		r.filter(c, errs.field("with"))
	}
	slot, end := c.declare(c.variable(catch, "as", "error"))
	defer end()
	r.slot = slot
	r.when, r.exceptWhen = c.expression(catch.field("when")), c.expression(catch.field("exceptWhen"))
	if again := catch.field("retry"); again != nil {
		r.retry = c.retry(again)
		t.effects = true // it may wait
	}
	if do := catch.field("do"); do != nil {
		r.handler = c.list(do, t.ref+"/catch/do")
		t.effects = t.effects || r.handler.effects
		t.parts = append(t.parts, part{"catch", r.handler})
	}
	return r
}

func (r *tryTask) filter(c *compiler, with *node) {
	if with == nil || !c.object(with, "with", "type", "status", "instance", "title", "details", "detail") {
		return
	}
	for _, f := range with.fields {
		r.with = append(r.with, want{f.name, c.template(f.value)})
	}
}

// retry compiles a retry policy, or the name of one in use.retries.
func (c *compiler) retry(n *node) *retry {
	r := &retry{backoff: "constant", factor: 2}
	if name, ok := n.text(); ok {
		if n = c.reusable(n, "retries", name); n == nil {
			return r
		}
	}
	if !c.object(n, "retry", "when", "exceptWhen", "delay", "backoff", "limit", "jitter") {
		return r
	}
	r.when, r.exceptWhen = c.expression(n.field("when")), c.expression(n.field("exceptWhen"))
	if delay := n.field("delay"); delay != nil {
		r.delay = c.span(delay)
	}
	if backoff := n.field("backoff"); backoff != nil {
		r.compileBackoff(c, backoff)
	}
	if jitter := n.field("jitter"); jitter != nil && c.object(jitter, "jitter", "from", "to") {
		if from := jitter.field("from"); from != nil {
			r.jitterFrom = c.span(from)
		}
		if to := jitter.field("to"); to != nil {
			r.jitterTo = c.span(to)
		} else {
			c.fail(jitter, "write to: {seconds: 1}", "jitter has no end")
		}
	}
	if limit := n.field("limit"); limit != nil && c.object(limit, "limit", "attempt", "duration") {
		r.compileLimit(c, limit)
	}
	return r
}

func (r *retry) compileBackoff(c *compiler, n *node) {
	if !c.object(n, "backoff", "constant", "linear", "exponential") || len(n.fields) != 1 {
		c.fail(n, "write exponential: {}", "backoff is one of constant, linear and exponential")
		return
	}
	f := n.fields[0]
	r.backoff = f.name
	if f.value.kind != object {
		if f.value.value != nil {
			c.fail(f.value, "write "+f.name+": {}", "%s is an object", f.name)
		}
		return
	}
	if !c.object(f.value, f.name, "increment", "factor", "multiplier", "maxDelay") {
		return
	}
	for _, name := range []string{"factor", "multiplier"} {
		if factor := f.value.field(name); factor != nil {
			v, ok := number(factor.value)
			if !ok || v < 1 {
				c.fail(factor, "write "+name+": 2", "%s is a number, at least 1", name)
			}
			r.factor = v
		}
	}
	if increment := f.value.field("increment"); increment != nil {
		r.increment = c.span(increment)
	}
	if most := f.value.field("maxDelay"); most != nil {
		r.most = c.span(most)
	}
}

func (r *retry) compileLimit(c *compiler, n *node) {
	if d := n.field("duration"); d != nil {
		s := c.span(d)
		r.duration = &s
	}
	attempt := n.field("attempt")
	if attempt == nil || !c.object(attempt, "attempt", "count", "duration") {
		return
	}
	if count := attempt.field("count"); count != nil {
		if v, ok := number(count.value); count.kind == scalar && !ok || v < 0 {
			if _, text := count.text(); !text {
				c.fail(count, "write count: 3", "count is a number")
			}
		}
		r.attempts = c.template(count)
	}
	if d := attempt.field("duration"); d != nil {
		s := c.span(d)
		r.attempt = &s
	}
}

func (r *tryTask) run(x *exec, a *activation, input any) (any, error) {
	s := &scope{parent: a.scope}
	began := x.clock
	for {
		x.attempt = s.n
		out, err := r.try(x, s, input)
		var failure *Error
		if err == nil || !errors.As(err, &failure) || failure.Final {
			return out, err
		}
		if caught, err := r.catches(x, failure, input); err != nil || !caught {
			return nil, cmpError(err, failure)
		}
		again, err := r.again(x, a, s.n, began, input)
		if err != nil {
			return nil, err
		}
		if again {
			s.n++
			continue
		}
		if r.handler == nil {
			return input, nil
		}
		return x.list(s, r.handler, input)
	}
}

// cmpError is the first error that there is.
func cmpError(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// try runs the tasks once, within the limit of one attempt.
func (r *tryTask) try(x *exec, s *scope, input any) (any, error) {
	around := x.deadline
	if r.retry != nil && r.retry.attempt != nil {
		if err := x.limit(*r.retry.attempt, input); err != nil {
			return nil, err
		}
	}
	mine := x.deadline
	out, err := x.list(s, r.list, input)
	x.deadline = around
	if mine != around {
		err = x.struck(mine, err)
		err = placed(err, x.act.task.ref)
	}
	return out, err
}

// catches says whether the task's catch is for this error.
func (r *tryTask) catches(x *exec, failure *Error, input any) (bool, error) {
	for _, w := range r.with {
		v, err := x.template(w.value, input)
		if err != nil {
			return false, err
		}
		if !failure.is(w.field, v) {
			return false, nil
		}
	}
	x.slots[r.slot] = failure.value()
	return x.both(r.when, r.exceptWhen, input)
}

// both says that when holds and except does not, where they are there.
func (x *exec) both(when, except *expression, input any) (bool, error) {
	if when != nil {
		if yes, err := x.condition(when, input); err != nil || !yes {
			return false, err
		}
	}
	if except != nil {
		if yes, err := x.condition(except, input); err != nil || yes {
			return false, err
		}
	}
	return true, nil
}

// is compares one field of an error with what a document wants.
func (e *Error) is(name string, want any) bool {
	switch name {
	case "type":
		kind, _ := want.(string)
		return canonical(e.Type) == canonical(kind)
	case "status":
		status, ok := number(want)
		return ok && int(status) == e.Status
	case "instance":
		return e.Instance == want
	case "title":
		return e.Title == want
	}
	return e.Detail == want
}

// again says whether to try again, and waits until it is time to.
func (r *tryTask) again(x *exec, a *activation, attempt int, began time.Time, input any) (bool, error) {
	p := r.retry
	if p == nil {
		return false, nil
	}
	if yes, err := x.both(p.when, p.exceptWhen, input); err != nil || !yes {
		return false, err
	}
	if p.attempts != nil {
		v, err := x.template(p.attempts, input)
		if err != nil {
			return false, err
		}
		if most, ok := number(v); !ok || float64(attempt) >= most {
			return false, nil
		}
	}
	delay, err := p.wait(x, a, attempt, input)
	if err != nil {
		return false, err
	}
	until := x.clock.Add(delay)
	if p.duration != nil {
		most, err := x.span(*p.duration, input)
		if err != nil || until.Sub(began) > most {
			return false, err
		}
	}
	return true, x.pause(a, until, "!"+strconv.Itoa(attempt))
}

// wait is how long to wait before the next attempt.
func (r *retry) wait(x *exec, a *activation, attempt int, input any) (time.Duration, error) {
	var d [5]time.Duration
	for i, s := range []span{r.delay, r.increment, r.most, r.jitterFrom, r.jitterTo} {
		var err error
		if d[i], err = x.span(s, input); err != nil {
			return 0, err
		}
	}
	delay, increment, most, from, to := float64(d[0]), float64(d[1]), float64(d[2]), float64(d[3]), float64(d[4])
	switch r.backoff {
	case "linear":
		if increment == 0 {
			increment = delay
		}
		delay += increment * float64(attempt)
	case "exponential":
		delay *= math.Pow(r.factor, float64(attempt))
	}
	if most > 0 {
		delay = min(delay, most)
	}
	if to > from {
		delay += from + (to-from)*x.fraction(a.key()+"!"+strconv.Itoa(attempt))
	}
	return time.Duration(min(delay, float64(maxDuration))), nil
}

// fraction is a number from 0 to 1 that is the same in each replay.
func (r *running) fraction(key string) float64 {
	sum := sha256.Sum256([]byte("jitter\x00" + r.ID + "\x00" + key))
	return float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53)
}
