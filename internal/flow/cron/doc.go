// Package cron knows when a schedule comes due: cron's five fields, or six with
// seconds, @hourly and the like, and @every.
//
// It promises:
//   - Next depends on the schedule and the time that it is given, on nothing else, so
//     that a missed run never loses the ones behind it; it allocates nothing.
//   - A job at a fixed time (neither minute nor hour begins with *) comes once for each
//     wall-clock slot: at the end of the gap where the clock jumps over it, and at the
//     first of two where the clock is set back. All other jobs follow real time.
//   - A schedule that never comes due is found out in bounded time.
package cron
