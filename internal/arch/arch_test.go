// Package arch holds the house to its plan: who may import whom, how long a
// file may be, and that every package says what it is for. It reads the files
// itself, so that the test cache can't hide a violation.
package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tocsin-events/tocsin/"

// levels of the packages (docs/ARCHITECTURE.md): one imports lower ones only. A
// package below another has its level, and may be imported by it.
var levels = map[string]int{
	"event": 0, "licence": 0,
	"catalog": 1, "redact": 1, "filter": 1, "config": 1, "spool": 1, "backup": 1, "tail": 1,
	"telemetry": 2, "journal": 2, "state": 2, "geo": 2, "egress": 2,
	"ingest": 3, "follow": 3, "identity": 3, "mail": 3, "alert": 3, "agent": 3,
	"source": 4, "transport": 4, "fleet": 4, "publish": 4,
	"notify": 5, "flow": 5,
	"web": 6, "app": 7, "bench": 8, "cli": 9,
	"arch": 10, "e2e": 10,
}

const (
	maxLines     = 600
	maxTestLines = 800
)

type file struct {
	path  string // from the root of the repository
	lines int
	ast   *ast.File
}

func files(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	var all []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, content, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		all = append(all, file{filepath.ToSlash(rel), strings.Count(string(content), "\n"), parsed})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d files found: the walk is broken", len(all))
	}
	return all
}

// top is the package of DESIGN 7 that a file belongs to; empty outside internal.
func top(path string) string {
	rest, inside := strings.CutPrefix(path, "internal/")
	if !inside {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

func TestLevels(t *testing.T) {
	for _, f := range files(t) {
		from := top(f.path)
		if from == "" {
			continue
		}
		level, known := levels[from]
		if !known {
			t.Errorf("%s: package %s has no level; give it one in internal/arch", f.path, from)
			continue
		}
		for _, imp := range f.ast.Imports {
			path, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			to := top(strings.TrimPrefix(path, module))
			if !strings.HasPrefix(path, module) || to == from {
				continue
			}
			if levels[to] >= level && !strings.HasSuffix(f.path, "_test.go") {
				t.Errorf("%s (level %d) imports %s (level %d): only lower levels may be imported", f.path, level, to, levels[to])
			}
		}
	}
}

func TestFileSizes(t *testing.T) {
	for _, f := range files(t) {
		most := maxLines
		if strings.HasSuffix(f.path, "_test.go") {
			most = maxTestLines
		}
		if f.lines > most {
			t.Errorf("%s has %d lines, more than %d: split it by meaning", f.path, f.lines, most)
		}
	}
}

func TestPackageComments(t *testing.T) {
	said := map[string]string{}
	for _, f := range files(t) {
		dir := filepath.Dir(f.path)
		if strings.HasSuffix(f.path, "_test.go") && dir != "internal/arch" {
			continue
		}
		if _, seen := said[dir]; !seen {
			said[dir] = ""
		}
		if f.ast.Doc != nil {
			said[dir] += f.ast.Doc.Text()
		}
	}
	for dir, text := range said {
		if len(text) < 80 {
			t.Errorf("package %s has no comment that says what it is for", dir)
		}
		if strings.HasPrefix(dir, "internal/") && dir != "internal/arch" && !strings.Contains(text, "romise") {
			t.Errorf("the comment of package %s does not say what it promises", dir)
		}
	}
}

// TestInit lets only the packages that register by file have an init function.
func TestInit(t *testing.T) {
	registering := map[string]bool{"catalog": true, "source": true, "transport": true, "flow": true, "cli": true}
	for _, f := range files(t) {
		if registering[top(f.path)] || strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", f.path), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "init" && fn.Recv == nil {
				t.Errorf("%s has an init function: only registries may", f.path)
			}
		}
	}
}
