package web

import "testing"

// Pages are parsed when they are shown first; here, all of them.
func TestPagesParse(t *testing.T) {
	all := newPages().byName
	if len(all) < 30 {
		t.Fatalf("only %d pages are found", len(all))
	}
	for name, parse := range all {
		if parse().Lookup("page_"+name+".html") == nil {
			t.Errorf("page %s has no template of its file", name)
		}
	}
}
