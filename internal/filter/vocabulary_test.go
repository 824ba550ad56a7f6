package filter

import (
	"strings"
	"testing"
)

// TestVocabulary compiles every word, and knows every variable.
func TestVocabulary(t *testing.T) {
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, w := range Vocabulary() {
		if known[w.Name] = true; w.Name == "" {
			t.Error("a word without a name")
		}
		source := w.Name + " == " + w.Name
		switch {
		case w.Name == "data.":
			source = "data.x == 1"
		case strings.HasSuffix(w.Name, "("):
			_, example, ok := strings.Cut(": "+w.Doc, ": ")
			if source, _, _ = strings.Cut(example, ": "); !ok {
				t.Errorf("%s has no example", w.Name)
			}
			if w.Name == "ago(" {
				source += " < time"
			}
		}
		if _, err := env.Compile(source); err != nil {
			t.Errorf("%s: %v", source, err)
		}
	}
	for _, v := range env.bools.Variables() {
		if name := v.Name(); !known[name] && !known[name+"."] && !known[name+".id"] && !known[name+".country"] && !known[name+".number"] && name != eventVariable && !strings.Contains(name, ".") {
			if _, err := env.Compile(name + " == " + name); err == nil {
				t.Errorf("%s is a variable and no word", name)
			}
		}
	}
}
