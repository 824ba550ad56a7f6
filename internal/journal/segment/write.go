package segment

import (
	"errors"

	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

// Suffix ends the name of every complete segment; TempSuffix that of one which
// was being written, and may be removed at start.
const (
	Suffix     = ".seg"
	TempSuffix = ".seg.tmp"
)

// Write makes the segment of one part of a table, whose hash chain goes on from
// in, and returns its path. When it returns without an error the segment is
// durable under its name.
func Write(fsys vfs.FS, dir string, t *Table, p Part, in Hash) (string, error) {
	return "", errors.ErrUnsupported
}
