// Package journal is the durable record of every event: an append-only log with
// group commit, hash chains and retention, and the doors through which it is
// read.
//
// It promises:
//   - Append returns without an error only after the events are on disk, and a
//     crash at any moment loses none of them.
//   - Sequences are 1, 2, 3 …, without a gap, in the order of commit; the time of
//     recording never goes back, whatever the clock does.
//   - A (source, id) pair among the newest Options.Window events is recorded
//     once; repeating it is answered with the first one's sequence.
//   - After a failed write or sync nothing more is accepted (ErrStopped), and no
//     sync is ever repeated. A full disk refuses (ErrFull) and goes on by itself.
//     Damage that loses events refuses writes (ErrDamaged) and still serves what
//     is whole, until an operator accepts the loss.
//   - No event is changed, and none is removed but by retention, which leaves a
//     record of what went; Verify proves both.
//
// Everything exported may be used by any number of goroutines. Locks, outermost
// first: queue.mu, Journal.mu, Journal.growth; none is held during I/O.
package journal
