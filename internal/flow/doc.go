// Package flow acts: it runs flows when events happen, when it is time, or when
// somebody asks (seed 001).
//
// A flow is an Open Workflow Specification document, compiled by package program.
// A trigger says when it runs. It promises: a trigger starts one run for an event
// and one for a slot of its schedule, also over a crash at any point; a run has
// one result event; what a run does outside is done at least once and under one
// key; a run goes on with the version of the flow with which it began, whatever
// becomes of the flow meanwhile; and why a trigger did not run is counted and can
// be asked for. Of several nodes one runs flows, the holder of the lease.
package flow
