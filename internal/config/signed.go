package config

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/event"
)

// License names a licence and whose signature it must have. None is needed.
type License struct {
	File      string `yaml:"file" doc:"A licence; empty for none. It is watched, and changes of its status are told."`
	PublicKey string `yaml:"public_key" doc:"Ed25519 key of who signs licences: 32 bytes in base64."`
}

// Updates names a feed of releases.
type Updates struct {
	Feed      string `yaml:"feed" doc:"URL of a signed list of releases; empty for none, and no call is made."`
	PublicKey string `yaml:"public_key" doc:"Ed25519 key of who signs the list: 32 bytes in base64."`
}

// PublicKey reads an Ed25519 key (RFC 8032), 32 bytes in base64.
func PublicKey(text string) (ed25519.PublicKey, error) {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, event.Invalidf("%q is not an Ed25519 key: 32 bytes in base64", text)
	}
	return key, nil
}

func (l *License) validate() error {
	if l.File == "" {
		return nil
	}
	if _, err := PublicKey(l.PublicKey); err != nil {
		return fmt.Errorf("license.public_key: %w", err)
	}
	return nil
}

func (u *Updates) validate() error {
	if u.Feed == "" {
		return nil
	}
	if _, err := PublicKey(u.PublicKey); err != nil {
		return fmt.Errorf("updates.public_key: %w", err)
	}
	return nil
}

// SourceOptions are the options of all sources: those under sources, and what the
// keys license and updates say of the sources of their names.
func (c *Config) SourceOptions() (map[string]yaml.Node, error) {
	options := maps.Clone(c.Sources)
	if options == nil {
		options = map[string]yaml.Node{}
	}
	for name, set := range map[string]map[string]string{
		"license": {"enabled": "true", "file": c.License.File, "public_key": c.License.PublicKey},
		"updates": {"enabled": "true", "feed": c.Updates.Feed, "public_key": c.Updates.PublicKey},
	} {
		if set["file"]+set["feed"] == "" {
			continue
		}
		node := options[name]
		if node.Kind == 0 {
			node.Kind = yaml.MappingNode
		}
		for _, key := range slices.Sorted(maps.Keys(set)) {
			if i := slices.IndexFunc(node.Content, func(n *yaml.Node) bool { return n.Value == key }); i >= 0 && i%2 == 0 {
				return nil, event.Invalidf("sources.%s.%s: line %d: leave it out, %s says it", name, key, node.Content[i].Line, name)
			}
			node.Content = append(slices.Clone(node.Content), &yaml.Node{Kind: yaml.ScalarNode, Value: key}, &yaml.Node{Kind: yaml.ScalarNode, Value: set[key]})
		}
		options[name] = node
	}
	return options, nil
}
