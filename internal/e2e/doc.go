// Package e2e holds the tests that drive the real program from outside: as a
// child process, over its socket, its HTTP interface and its command line, with
// clients that nobody here wrote.
//
// It promises: no test reaches into the server; each has a data folder of its
// own; none waits by sleeping; one whose component is missing skips with a
// reason, and fails where CI=true. E2E_RACE=1 drives a program that is
// built with the race detector.
package e2e
