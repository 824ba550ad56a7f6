package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/config"
)

// The sample changes nothing as it is, and has every key: without its first
// comment signs it is the default configuration, too.
func TestSample(t *testing.T) {
	sample, err := config.Sample()
	if err != nil {
		t.Fatal(err)
	}
	want, err := config.Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	var bare strings.Builder
	for line := range strings.Lines(sample) {
		if line != "\n" && line[0] != '#' {
			t.Errorf("the line %q is no comment", line)
		}
		bare.WriteString(strings.TrimPrefix(line, "#"))
	}
	for _, text := range []string{sample, bare.String()} {
		got, err := load(t, text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		got.Origin = want.Origin // the sample gives every key the value that it has anyway
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	for _, k := range config.Keys() {
		name := k.Name[strings.LastIndex(k.Name, ".")+1:]
		if !strings.Contains(bare.String(), name+": ") || !strings.Contains(sample, k.Doc) {
			t.Errorf("the sample lacks %s", k.Name)
		}
	}
}
