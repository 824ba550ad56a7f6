// Command testcount reads what go test -json prints, shows each package's result
// and all that failed tests had to say, and ends with the totals: a line of the
// form "12 passed, 0 failed, 3 skipped". It exits with 1 where a test failed,
// where a package did not compile, and where nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is one line of go test -json (go doc test2json).
type event struct {
	Action  string
	Package string
	// ImportPath stands in for Package where the package does not compile.
	ImportPath  string
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

// name is a test in a package; the package itself has no test.
type name struct{ pkg, test string }

type counter struct {
	out    io.Writer
	output map[name][]string
	result map[name]string
	parent map[name]bool // has subtests, which are counted in its place

	passed, failed, skipped int
	skips                   []string
}

func main() {
	c := newCounter(os.Stdout)
	if err := c.read(os.Stdin); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "testcount:", err)
		os.Exit(1)
	}
	if !c.totals() {
		os.Exit(1)
	}
}

func newCounter(out io.Writer) *counter {
	return &counter{out: out, output: map[name][]string{}, result: map[name]string{}, parent: map[name]bool{}}
}

func (c *counter) read(in io.Reader) error {
	lines := bufio.NewReaderSize(in, 1<<20)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			c.line(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *counter) line(line string) {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
		_, _ = io.WriteString(c.out, line) // what go says besides, such as downloads
		return
	}
	if e.Package == "" {
		e.Package = e.ImportPath
	}
	n := name{e.Package, e.Test}
	switch e.Action {
	case "run":
		if at := strings.LastIndexByte(e.Test, '/'); at > 0 {
			c.parent[name{e.Package, e.Test[:at]}] = true
		}
	case "output", "build-output":
		c.output[n] = append(c.output[n], e.Output)
	case "pass", "fail", "skip":
		c.end(n, &e)
	}
}

// end takes in the result of a test or, where n has no test, of a package.
func (c *counter) end(n name, e *event) {
	if n.test == "" {
		c.endPackage(n, e)
		return
	}
	if e.Action == "fail" {
		c.show(n)
		c.result[name{n.pkg, ""}] = "fail"
	}
	if e.Action == "skip" {
		c.skips = append(c.skips, c.reason(n))
	}
	delete(c.output, n)
	if c.parent[n] {
		// A test is counted by its subtests, unless it alone has failed.
		if e.Action != "fail" || c.result[n] == "fail" {
			return
		}
	}
	switch e.Action {
	case "pass":
		c.passed++
	case "skip":
		c.skipped++
	default:
		c.failed++
		for at := strings.LastIndexByte(n.test, '/'); at > 0; at = strings.LastIndexByte(n.test[:at], '/') {
			c.result[name{n.pkg, n.test[:at]}] = "fail"
		}
	}
}

func (c *counter) endPackage(n name, e *event) {
	if e.Action == "fail" && c.result[n] != "fail" { // no test of it failed: it did not compile, or it crashed
		c.failed++
		c.show(name{e.FailedBuild, ""})
		c.show(n)
	}
	if e.Action != "skip" {
		_, _ = fmt.Fprintf(c.out, "%-4s  %s  %.1fs\n", e.Action, n.pkg, e.Elapsed)
	}
	// What is left is of tests that a crash cut off.
	for other := range c.output {
		if other.pkg == n.pkg && other.test != "" && e.Action == "fail" {
			c.show(other)
		}
		if other.pkg == n.pkg {
			delete(c.output, other)
		}
	}
	delete(c.result, n)
}

func (c *counter) show(n name) {
	for _, line := range c.output[n] {
		_, _ = io.WriteString(c.out, line)
	}
	delete(c.output, n)
}

// reason is the line in which a test said why it was skipped.
func (c *counter) reason(n name) string {
	for _, line := range slices.Backward(c.output[n]) {
		if text := strings.TrimSpace(line); text != "" && !strings.HasPrefix(text, "---") && !strings.HasPrefix(text, "===") {
			return n.test + ": " + text
		}
	}
	return n.test
}

// totals prints the end and reports whether all is well.
func (c *counter) totals() bool {
	for _, s := range c.skips {
		_, _ = fmt.Fprintln(c.out, "skipped", s)
	}
	_, _ = fmt.Fprintf(c.out, "%d passed, %d failed, %d skipped\n", c.passed, c.failed, c.skipped)
	return c.failed == 0 && c.passed > 0
}
