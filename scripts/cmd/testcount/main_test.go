package main

import (
	"bytes"
	"strings"
	"testing"
)

// The output of go test -json for a package with a passing test, one with
// subtests of which one fails and one is skipped, one that crashes, and one that
// does not compile.
const input = `go: downloading example.com/x v1.0.0
{"Action":"start","Package":"a"}
{"Action":"run","Package":"a","Test":"TestGood"}
{"Action":"output","Package":"a","Test":"TestGood","Output":"not shown\n"}
{"Action":"pass","Package":"a","Test":"TestGood","Elapsed":0.1}
{"Action":"run","Package":"a","Test":"TestMany"}
{"Action":"run","Package":"a","Test":"TestMany/one"}
{"Action":"run","Package":"a","Test":"TestMany/two"}
{"Action":"output","Package":"a","Test":"TestMany/one","Output":"    a_test.go:7: it is wrong\n"}
{"Action":"fail","Package":"a","Test":"TestMany/one","Elapsed":0.1}
{"Action":"output","Package":"a","Test":"TestMany/two","Output":"    a_test.go:9: no restic here\n"}
{"Action":"output","Package":"a","Test":"TestMany/two","Output":"--- SKIP: TestMany/two (0.00s)\n"}
{"Action":"skip","Package":"a","Test":"TestMany/two","Elapsed":0}
{"Action":"fail","Package":"a","Test":"TestMany","Elapsed":0.2}
{"Action":"fail","Package":"a","Elapsed":1.5}
{"Action":"run","Package":"b","Test":"TestCrash"}
{"Action":"output","Package":"b","Test":"TestCrash","Output":"panic: oh\n"}
{"Action":"fail","Package":"b","Elapsed":0.5}
{"Action":"build-output","ImportPath":"c [c.test]","Output":"c.go:1: syntax error\n"}
{"Action":"build-fail","ImportPath":"c [c.test]"}
{"Action":"fail","Package":"c","Elapsed":0,"FailedBuild":"c [c.test]"}
{"Action":"skip","Package":"d","Elapsed":0}
`

func TestCount(t *testing.T) {
	var out bytes.Buffer
	c := newCounter(&out)
	if err := c.read(strings.NewReader(input)); err != nil {
		t.Fatal(err)
	}
	if c.totals() {
		t.Error("failures are taken for a success")
	}
	text := out.String()
	for _, want := range []string{"a_test.go:7: it is wrong", "panic: oh", "c.go:1: syntax error", "skipped TestMany/two: a_test.go:9: no restic here", "go: downloading"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "not shown") {
		t.Error("the output of a good test is shown")
	}
	if want := "1 passed, 3 failed, 1 skipped\n"; !strings.HasSuffix(text, want) {
		t.Errorf("the end is not %q:\n%s", want, text)
	}
}

func TestNothingRan(t *testing.T) {
	if newCounter(&bytes.Buffer{}).totals() {
		t.Error("a run without tests is taken for a success")
	}
}
