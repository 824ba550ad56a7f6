// Command licences writes the list of package licence: the Go modules that are
// linked into the program on Linux, with the licences and notices that lie in
// and above their linked packages, and the front-end assets that assets.json of
// the vendored folder names. It fails where a licence is missing or unknown, and
// where a file of an asset is not the one that was listed.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/tocsin-events/tocsin/internal/licence"
)

// Where things are, from the root of the repository.
const (
	program = "./cmd/tocsin"
	vendor  = "internal/web/ui/static/vendor"
	target  = "internal/licence/licences.json.gz"
)

func main() {
	if err := run("."); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	list, err := collect(root)
	if err != nil {
		return err
	}
	now, err := licence.Pack(list)
	if err != nil {
		return err
	}
	path := root + "/" + target
	before, err := os.ReadFile(path)
	if err == nil && same(before, list) || bytes.Equal(before, now) {
		return nil // another version of Go may compress otherwise
	}
	return os.WriteFile(path, now, 0o644) //nolint:gosec // it is for everybody
}

// collect makes the list: modules, then assets, each by name.
func collect(root string) ([]licence.Licence, error) {
	list, err := modules(root)
	if err != nil {
		return nil, err
	}
	more, err := assets(root + "/" + vendor)
	return append(list, more...), err
}

// same reports whether a stored list says the same as another one.
func same(packed []byte, list []licence.Licence) bool {
	stored, err := licence.Unpack(packed)
	return err == nil && slices.Equal(stored, list)
}

var errUnknown = errors.New("the licence is missing or unknown; teach scripts/cmd/licences")
