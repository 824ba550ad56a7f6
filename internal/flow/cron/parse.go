package cron

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Error is a specification that is none. It is of class event.ErrInvalid.
type Error struct {
	Spec    string
	Column  int // in bytes, from 1, of what is wrong
	Field   string
	Problem string
}

func (e *Error) Error() string {
	where := "column " + strconv.Itoa(e.Column)
	if e.Field != "" {
		where = e.Field + ", " + where
	}
	return fmt.Sprintf("cron %q: %s: %s", clip(e.Spec), where, e.Problem)
}

// Is makes the error one of class event.ErrInvalid.
func (e *Error) Is(target error) bool { return target == event.ErrInvalid }

func clip(text string) string {
	const most = 80
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// maxSpec is how many bytes a specification may have.
const maxSpec = 1024

// Parse reads a specification. loc is the zone of its clock, unless it begins with
// CRON_TZ= or TZ=; nil is UTC. The error is an *Error. A specification that never
// comes due, such as 30 February, is one.
func Parse(spec string, loc *time.Location) (*Schedule, error) {
	if loc == nil {
		loc = time.UTC
	}
	p := &parser{spec: spec, s: &Schedule{spec: spec, loc: loc}}
	if len(spec) > maxSpec {
		return nil, p.bad(0, "", "it is longer than %d bytes", maxSpec)
	}
	words := p.words()
	if len(words) > 0 {
		if name, found := cutZone(words[0].text); found {
			zone, err := time.LoadLocation(name)
			if err != nil || name == "" || name == "Local" {
				return nil, p.bad(words[0].at, "", "%q is no time zone; write one such as CRON_TZ=Europe/Berlin", clip(name))
			}
			p.s.loc, words = zone, words[1:]
		}
	}
	var err error
	if len(words) > 0 && strings.HasPrefix(words[0].text, "@") {
		err = p.macro(words)
	} else {
		err = p.fields(words)
	}
	if err != nil {
		return nil, err
	}
	return p.s, nil
}

func cutZone(word string) (string, bool) {
	if name, found := strings.CutPrefix(word, "CRON_TZ="); found {
		return name, true
	}
	return strings.CutPrefix(word, "TZ=")
}

type parser struct {
	spec string
	s    *Schedule
}

type word struct {
	text string
	at   int // in bytes from the beginning of the specification
}

func (p *parser) bad(at int, field, format string, args ...any) error {
	return &Error{Spec: p.spec, Column: at + 1, Field: field, Problem: fmt.Sprintf(format, args...)}
}

func (p *parser) words() []word {
	var all []word
	for i := 0; i < len(p.spec); {
		if p.spec[i] == ' ' || p.spec[i] == '\t' {
			i++
			continue
		}
		end := i
		for end < len(p.spec) && p.spec[end] != ' ' && p.spec[end] != '\t' {
			end++
		}
		all = append(all, word{p.spec[i:end], i})
		i = end
	}
	return all
}

// macro reads @hourly, @every 20m30s and the like.
func (p *parser) macro(words []word) error {
	first := words[0]
	if first.text == "@every" {
		if len(words) != 2 {
			return p.bad(first.at, "", "write a duration behind @every, such as @every 20m30s")
		}
		d, err := event.ParseDuration(words[1].text)
		if err != nil || d < time.Second {
			return p.bad(words[1].at, "", "%q is no duration of at least a second, such as 20m30s", clip(words[1].text))
		}
		p.s.every = d
		return nil
	}
	if len(words) > 1 {
		return p.bad(words[1].at, "", "nothing may follow %s", first.text)
	}
	var plain string
	switch strings.ToLower(first.text) {
	case "@hourly":
		plain = "0 * * * *"
	case "@daily", "@midnight":
		plain = "0 0 * * *"
	case "@weekly":
		plain = "0 0 * * 0"
	case "@monthly":
		plain = "0 0 1 * *"
	case "@yearly", "@annually":
		plain = "0 0 1 1 *"
	default:
		return p.bad(first.at, "", "%s is not known; there are @hourly, @daily, @weekly, @monthly, @yearly and @every", clip(first.text))
	}
	inner := &parser{spec: plain, s: p.s}
	return inner.fields(inner.words())
}

// A unit is one of the fields.
type unit struct {
	name     string
	min, max int
	names    string // three letters each, from first
	first    int
}

func units() [6]unit {
	return [6]unit{
		{"second", 0, 59, "", 0},
		{"minute", 0, 59, "", 0},
		{"hour", 0, 23, "", 0},
		{"day of month", 1, 31, "", 0},
		{"month", 1, 12, "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC", 1},
		{"day of week", 0, 7, "SUNMONTUEWEDTHUFRISAT", 0},
	}
}

func (p *parser) fields(words []word) error {
	if n := len(words); n != 5 && n != 6 {
		return p.bad(0, "", "there are %d fields; write five (minute hour day month weekday), or six with seconds first", n)
	}
	all := units()
	sets := [6]*uint64{&p.s.second, &p.s.minute, &p.s.hour, &p.s.day, &p.s.month, &p.s.weekday}
	seconds := word{"0", 0}
	if len(words) == 6 {
		seconds, words = words[0], words[1:]
	}
	for i, w := range append([]word{seconds}, words...) {
		set, err := p.field(w, all[i])
		if err != nil {
			return err
		}
		*sets[i] = set
	}
	if p.s.weekday&(1<<7) != 0 { // 7 is Sunday, too
		p.s.weekday = p.s.weekday&^(1<<7) | 1
	}
	star := func(w word) bool { return strings.HasPrefix(w.text, "*") }
	p.s.bothDays = star(words[2]) || star(words[4])
	p.s.fixed = !star(seconds) && !star(words[0]) && !star(words[1])
	if _, found := p.s.next(wall{2000, 1, 1, 0, 0, 0}); !found {
		return p.bad(words[2].at, "day of month", "it never comes due")
	}
	return nil
}

// field reads a list of terms.
func (p *parser) field(w word, u unit) (uint64, error) {
	var set uint64
	at := w.at
	for term := range strings.SplitSeq(w.text, ",") {
		bits, err := p.term(word{strings.ToUpper(term), at}, u)
		if err != nil {
			return 0, err
		}
		set |= bits
		at += len(term) + 1
	}
	return set, nil
}

// term reads *, a, a-b, any of them with /n, and what is special about days.
func (p *parser) term(w word, u unit) (uint64, error) {
	if special, err := p.special(w, u); special || err != nil {
		return 0, err
	}
	text, stepText, stepped := strings.Cut(w.text, "/")
	step := 1
	if stepped {
		var err error
		if step, err = digits(stepText); err != nil || step == 0 {
			return 0, p.bad(w.at+len(text)+1, u.name, "the step is a number from 1")
		}
	}
	from, to := u.min, u.max
	if text != "*" {
		low, high, ranged := strings.Cut(text, "-")
		var err error
		if from, err = p.value(word{low, w.at}, u); err != nil {
			return 0, err
		}
		switch {
		case ranged:
			if to, err = p.value(word{high, w.at + len(low) + 1}, u); err != nil {
				return 0, err
			}
		case !stepped:
			to = from
		}
		if to < from {
			return 0, p.bad(w.at, u.name, "%s ends before it begins; write two ranges", clip(text))
		}
	}
	var set uint64
	for v := from; v <= to; v += min(step, 64) {
		set |= 1 << v
	}
	return set, nil
}

// special reads L, LW, 5L and 5#3.
func (p *parser) special(w word, u unit) (bool, error) {
	switch {
	case u.name == "day of month" && w.text == "L":
		p.s.lastDay = true
		return true, nil
	case u.name == "day of month" && w.text == "LW":
		p.s.lastWeekday = true
		return true, nil
	case u.name != "day of week":
		return false, nil
	}
	name, number, isNth := strings.Cut(w.text, "#")
	nth := 0
	if isNth {
		var err error
		if nth, err = digits(number); err != nil || nth < 1 || nth > 5 {
			return false, p.bad(w.at+len(name)+1, u.name, "behind # is a number from 1 to 5")
		}
	} else if before, last := strings.CutSuffix(w.text, "L"); last && before != "" {
		name, isNth = before, true
	}
	if !isNth {
		return false, nil
	}
	day, err := p.value(word{name, w.at}, u)
	if err != nil {
		return false, err
	}
	p.s.nth[day%7] |= 1 << nth
	return true, nil
}

// value reads a number or a name.
func (p *parser) value(w word, u unit) (int, error) {
	if i := strings.Index(u.names, w.text); len(w.text) == 3 && i >= 0 && i%3 == 0 {
		return u.first + i/3, nil
	}
	v, err := digits(w.text)
	if err != nil || v < u.min || v > u.max {
		names := ""
		if u.names != "" {
			names = ", or a name such as " + u.names[:3]
		}
		return 0, p.bad(w.at, u.name, "%q is no %s: a number from %d to %d%s", clip(w.text), u.name, u.min, u.max, names)
	}
	return v, nil
}

func digits(text string) (int, error) {
	if text == "" || len(text) > 9 || strings.Trim(text, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(text)
}
