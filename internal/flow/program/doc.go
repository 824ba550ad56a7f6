// Package program compiles flows, documents of the Open Workflow Specification
// (DSL 1.0), and runs them. It is a language and nothing else: it opens no
// connection, reads no clock of its own accord and stores nothing. What a task does
// to the world goes through the Effects of who runs it.
//
// It promises:
//   - Compile names every problem that it finds with its path into the document, its
//     line and column, and what to write instead. What it refuses never runs.
//   - A Program never changes and may be run many times at once. The document's
//     content hash is its version.
//   - A run is a function of its program, its input, its clock and the answers to its
//     effects. Given the answers that were journalled, a replay takes the same way at
//     any point, so that a run can be taken up where it was cut off. Tasks that only
//     compute are computed again; an effect that has an answer is not done again.
//   - A run that waits is a value, not a goroutine: Run returns what it waits for.
//   - A run ends within its limits of steps, time and memory, whatever its document
//     says, and whatever a document of at most a megabyte says, Compile ends.
package program
