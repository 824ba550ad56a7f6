package config

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// origins says for each key that has a value in the file or the environment where
// that is. The names are those of Key; a list counts as one key. A mistake in the
// file is told elsewhere.
func origins(text []byte, environ []string) map[string]string {
	from := map[string]string{}
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) == nil && len(doc.Content) > 0 {
		inFile("", doc.Content[0], from)
	}
	given := map[string]bool{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		given[name] = value != ""
	}
	for _, k := range Keys() {
		if given[k.Variable] {
			from[k.Name] = k.Variable
		}
	}
	return from
}

func inFile(path string, n *yaml.Node, from map[string]string) {
	if n.Kind != yaml.MappingNode {
		if n.Kind != yaml.ScalarNode || n.Value != "" && n.Tag != "!!null" {
			from[strings.TrimSuffix(path, ".")] = "the configuration file"
		}
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		inFile(path+n.Content[i].Value+".", n.Content[i+1], from)
	}
}
