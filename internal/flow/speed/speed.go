// Package speed has the flows by which the language is measured, and the same work
// as bare calls of gojq, compiled once. It promises that both give the same result
// on Input; a test in package program compares them.
package speed

import (
	"errors"
	"fmt"

	"github.com/itchyny/gojq"
)

// A Case is a flow, and the same work as calls of gojq.
type Case struct {
	Name     string
	Document string
	// Bare compiles the same work and returns what does it once.
	Bare        func() (func(input any) any, error)
	Allocations float64 // of one run, at most
	Times       float64 // of the bare calls' time, at most
}

// Cases are the rows of the table of speeds.
func Cases() []Case {
	return []Case{
		{"set", header + `
do:
  - one: {set: {shape: circle, size: '${ .configuration.size }', fill: '${ .configuration.fill }'}}
`, bareSet, 25, 3},
		{"set+switch+for10+set", header + `
do:
  - first: {set: {items: '${ [range(10)] }', sum: 0, color: '${ .color }'}}
  - choose:
      switch:
        - red: {when: '.color == "red"', then: loop}
        - other: {when: '.color == "blue"', then: end}
  - loop:
      for: {each: item, in: .items}
      do:
        - add: {set: {sum: '${ .sum + $item }', items: '${ .items }'}}
  - last: {set: {total: '${ .sum * 2 }'}}
`, bareLoop, 500, 3},
		{"try/raise/catch", header + `
do:
  - attempt:
      try:
        - fail: {raise: {error: {type: https://example.com/errors/no, status: 418, title: '${ "no \(.color)" }'}}}
      catch:
        errors: {with: {status: 418}}
        as: err
        do:
          - keep: {set: {error: '${ $err.title }', status: '${ $err.status }'}}
`, bareTry, 80, 4},
	}
}

const header = `document: {dsl: '1.0.3', namespace: default, name: bench, version: '1.0.0'}`

// Input is what the cases run on.
func Input() any {
	return map[string]any{"color": "red", "configuration": map[string]any{"size": map[string]any{"width": 6, "height": 6}, "fill": map[string]any{"red": 69}}}
}

// codes compiles programs and keeps what went wrong.
type codes struct{ err error }

// add compiles one program.
func (c *codes) add(source string, variables ...string) func(input any, values ...any) any {
	q, err := gojq.Parse(source)
	if err == nil {
		var code *gojq.Code
		if code, err = gojq.Compile(q, gojq.WithVariables(variables)); err == nil {
			return func(input any, values ...any) any {
				v, _ := code.Run(input, values...).Next()
				return v
			}
		}
	}
	c.err = errors.Join(c.err, fmt.Errorf("%s: %w", source, err))
	return nil
}

func bareSet() (func(any) any, error) {
	var c codes
	set := c.add(`{shape: "circle", size: .configuration.size, fill: .configuration.fill}`)
	return func(in any) any { return set(in) }, c.err
}

func bareLoop() (func(any) any, error) {
	var c codes
	first := c.add(`{items: [range(10)], sum: 0, color: .color}`)
	when, in := c.add(`.color == "red"`), c.add(`.items`)
	add, last := c.add(`{sum: (.sum + $item), items: .items}`, "$item"), c.add(`{total: (.sum * 2)}`)
	return func(input any) any {
		v := first(input)
		if when(v) != true {
			return v
		}
		items, _ := in(v).([]any)
		for _, item := range items {
			v = add(v, item)
		}
		return last(v)
	}, c.err
}

func bareTry() (func(any) any, error) {
	var c codes
	title := c.add(`"no \(.color)"`)
	filter, keep := c.add(`$err.status == 418`, "$err"), c.add(`{error: $err.title, status: $err.status}`, "$err")
	return func(input any) any {
		failure := map[string]any{"type": "https://example.com/errors/no", "status": 418, "title": title(input), "instance": "/do/0"}
		if filter(input, failure) != true {
			return failure
		}
		return keep(input, failure)
	}, c.err
}
