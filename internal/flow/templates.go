package flow

import (
	"embed"
	"fmt"
	"path"
	"strings"

	"gopkg.in/yaml.v3"
)

//go:embed templates/*.yaml
var templateFiles embed.FS

// Template is a flow to begin with.
type Template struct {
	Name     string // of its file and its document
	Title    string
	Summary  string
	Document string // YAML, with what it needs and its trigger in a comment on top
}

// Templates are the flows to begin with, by name.
func Templates() ([]Template, error) {
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	all := make([]Template, 0, len(files))
	for _, f := range files {
		text, err := templateFiles.ReadFile(path.Join("templates", f.Name()))
		if err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
		var head struct {
			Document struct{ Title, Summary string }
		}
		if err := yaml.Unmarshal(text, &head); err != nil {
			return nil, fmt.Errorf("template %s: %w", f.Name(), err)
		}
		all = append(all, Template{strings.TrimSuffix(f.Name(), ".yaml"), head.Document.Title, head.Document.Summary, string(text)})
	}
	return all, nil
}
