// Package jq runs the jq programs of strangers: the expressions of flows and the
// input mappings of triggers. It is gojq with a fence around it.
//
// It promises:
//   - A Code is compiled once, never changes, and may run in many goroutines.
//     Values that go in are never changed; values that come out may share parts
//     with them, so nobody may change either.
//   - An evaluation ends within its time limit, and what it builds is counted
//     while it is built: neither an endless recursion, nor an array of millions,
//     nor a string that doubles itself takes the process with it.
//   - The same program on the same values gives the same result: the clock is
//     handed in, and there is no environment, no input and no file to read.
package jq
