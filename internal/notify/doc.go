// Package notify decides who is told of an event, and tells them: rules, the
// ways out, the ledger of what was sent, and the inbox.
//
// It promises: what a rule decides about an event is committed with the cursor,
// so that a crash neither loses nor doubles a telling; a message is sent at
// least once, under a key that no attempt changes, in its thread's order as long
// as nothing is retried, and never the end of something before it; one dead
// destination delays no other; a person is told once by each way; what is
// suppressed is counted, with the reason; telling never feeds itself; and every
// decision can be explained, before and after. Errors that people see say which
// field of which object is wrong.
package notify
