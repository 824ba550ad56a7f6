package journal_test

import (
	"strings"

	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

// gatedFS makes whoever creates a segment wait until gate is closed.
type gatedFS struct {
	vfs.FS
	gate    chan struct{}
	reached func()
}

func (g *gatedFS) Create(path string) (vfs.File, error) {
	if strings.HasSuffix(path, segment.TempSuffix) {
		g.reached()
		<-g.gate
	}
	return g.FS.Create(path)
}
