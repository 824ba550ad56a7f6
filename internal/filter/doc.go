// Package filter is Tocsin's one language for choosing events: CEL, for search,
// live tail, rules, triggers, routing and recipients.
//
// A filter is compiled once, into a plan that an index can narrow (Node) and a
// program that decides about one event. It promises: a filter that compiles
// runs within a cost limit; an absent attribute is the empty string, an absent
// member of data makes the filter not match; a wrong filter is an *Error of
// class event.ErrInvalid with line and column, never a text search; a compiled
// filter is immutable and safe for concurrent use.
package filter
