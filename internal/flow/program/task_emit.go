package program

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"
)

// emit: an event is written into the server's own journal. The output is the event.

func init() { register("emit", compileEmit) }

type emitTask struct{ with *template }

func compileEmit(c *compiler, n *node, t *task) runner {
	t.effects = true
	e := emitTask{&template{constant: map[string]any{}}}
	emit := n.field("emit")
	if !c.object(emit, "emit", "event") {
		return e
	}
	ev := emit.field("event")
	if ev == nil {
		c.fail(emit, "write event: {with: {type: …, data: …}}", "emit does not say which event")
		return e
	}
	if !c.object(ev, "event", "with") {
		return e
	}
	with := ev.field("with")
	if with == nil || with.kind != object {
		c.fail(ev, "write with: {type: …, data: …}", "an event has attributes")
		return e
	}
	if with.field("type") == nil {
		c.fail(with, "write type: com.example.happened", "the event has no type")
	}
	for _, f := range with.fields {
		if slices.Contains([]string{"specversion", "sequence", "recordedtime"}, f.name) {
			c.fail(f.value, "leave it out", "the server sets %s", f.name)
		}
	}
	return emitTask{c.template(with)}
}

func (e emitTask) run(x *exec, a *activation, input any) (any, error) {
	v, err := x.template(e.with, input)
	if err != nil {
		return nil, err
	}
	with, _ := v.(map[string]any)
	if kind, _ := with["type"].(string); kind == "" {
		return nil, Failure(TypeExpression, 400, "the type of an event is a text, not %s", kindName(with["type"]))
	}
	event := map[string]any{"specversion": "1.0", "id": x.id(a.key()), "time": x.Now().UTC().Format(time.RFC3339Nano)}
	maps.Copy(event, with)
	return x.do(a, Effect{Kind: EffectEmit, Arguments: event})
}

// id makes an identifier from the run's and a key, in the form of a UUID (RFC 9562,
// version 8): a replay makes the same one.
func (r *running) id(key string) string {
	sum := sha256.Sum256([]byte(r.ID + "\x00" + key))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
