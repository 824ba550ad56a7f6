package licence_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/licence"
)

func TestAll(t *testing.T) {
	list, err := licence.All()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"go": "BSD-3-Clause", "cel.dev/cel-go": "Apache-2.0", "modernc.org/sqlite": "BSD-3-Clause", "github.com/spf13/cobra": "Apache-2.0"}
	for _, l := range list {
		if l.Name == "" || l.Version == "" || l.SPDX == "" || len(l.Text) < 200 || l.Kind != licence.Module && l.Kind != licence.Asset {
			t.Errorf("%s %s: %s, %s, %d bytes", l.Name, l.Version, l.SPDX, l.Kind, len(l.Text))
		}
		if id, ok := want[l.Name]; ok && strings.Contains(l.SPDX, id) {
			delete(want, l.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing or under another licence: %v", want)
	}
}

func TestPack(t *testing.T) {
	list := []licence.Licence{{Name: "a", Version: "1", SPDX: "MIT", Kind: licence.Module, Text: "x"}, {Name: "b", Text: "y"}, {Name: "c", Text: "x"}}
	packed, err := licence.Pack(list)
	if err != nil {
		t.Fatal(err)
	}
	got, err := licence.Unpack(packed)
	if diff := cmp.Diff(list, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for _, broken := range [][]byte{nil, []byte("x"), packed[:len(packed)/2]} {
		if _, err := licence.Unpack(broken); err == nil {
			t.Errorf("%d broken bytes are read", len(broken))
		}
	}
}
