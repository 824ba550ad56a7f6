package program

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxDuration bounds what a flow may wait: longer is a mistake.
const maxDuration = 10 * 366 * 24 * time.Hour

// iso is a duration of ISO 8601, as far as it has a fixed length.
var iso = regexp.MustCompile(`^P(?:(\d+(?:\.\d+)?)W)?(?:(\d+(?:\.\d+)?)D)?(?:T(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

// parseISO reads PT30S, P1DT12H and the like.
func parseISO(text string) (time.Duration, error) {
	m := iso.FindStringSubmatch(text)
	if m == nil || strings.HasSuffix(text, "P") || strings.HasSuffix(text, "T") {
		if strings.HasPrefix(text, "P") && strings.ContainsAny(text, "YM") {
			return 0, fmt.Errorf("%q: years and months have no fixed length; write days", text)
		}
		return 0, fmt.Errorf("%q is no duration; write PT30S, PT5M, P1D or seconds: 30", text)
	}
	var total float64
	for i, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] == "" {
			continue
		}
		f, err := strconv.ParseFloat(m[i+1], 64)
		if err != nil {
			return 0, fmt.Errorf("%q: %w", text, err)
		}
		total += f * float64(unit)
	}
	if total > float64(maxDuration) {
		return 0, fmt.Errorf("%q is longer than ten years", text)
	}
	return time.Duration(total), nil
}

// unitOf is the length of a unit of an inline duration.
func unitOf(name string) time.Duration {
	switch name {
	case "weeks":
		return 7 * 24 * time.Hour
	case "days":
		return 24 * time.Hour
	case "hours":
		return time.Hour
	case "minutes":
		return time.Minute
	case "seconds":
		return time.Second
	case "milliseconds":
		return time.Millisecond
	}
	return 0
}

// durationOf reads a duration from a value, as a document or an expression gives it.
func durationOf(v any) (time.Duration, error) {
	switch v := v.(type) {
	case string:
		return parseISO(v)
	case map[string]any:
		var total float64
		for _, name := range slices.Sorted(maps.Keys(v)) { // the order matters to the last bit
			amount := v[name]
			unit := unitOf(name)
			if unit == 0 {
				return 0, fmt.Errorf("%q is no unit of time; there are days, hours, minutes, seconds and milliseconds", name)
			}
			f, ok := number(amount)
			if !ok || f < 0 {
				return 0, fmt.Errorf("%s must be a number, not below 0", name)
			}
			total += f * float64(unit)
		}
		if total > float64(maxDuration) {
			return 0, errors.New("a duration of more than ten years")
		}
		return time.Duration(total), nil
	}
	return 0, errors.New("a duration is a text such as PT30S or an object such as seconds: 30")
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// A span is a duration in a document: fixed, or an expression.
type span struct {
	fixed time.Duration
	value *template // nil where fixed
}

// span compiles a duration: an object of units, a text of ISO 8601, or an expression.
func (c *compiler) span(n *node) span {
	t := c.template(n)
	if t == nil {
		return span{}
	}
	if t.dynamic {
		return span{value: t}
	}
	if n.kind == object {
		for _, f := range n.fields {
			if unitOf(f.name) == 0 {
				c.unknownKey(n, f, []string{"days", "hours", "minutes", "seconds", "milliseconds"})
				return span{}
			}
		}
	}
	d, err := durationOf(t.constant)
	if err != nil {
		c.fail(n, "write seconds: 30, or PT30S", "%v", err)
	}
	return span{fixed: d}
}

// span evaluates a duration.
func (x *exec) span(s span, dot any) (time.Duration, error) {
	if s.value == nil {
		return s.fixed, nil
	}
	v, err := x.template(s.value, dot)
	if err != nil {
		return 0, err
	}
	d, err := durationOf(v)
	if err != nil {
		return 0, Failure(TypeExpression, 400, "%v", err)
	}
	return d, nil
}
