package config

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Duration is a time.Duration that is written as 250ms, 5s, 10m, 26h or 14d.
type Duration time.Duration

// String writes the duration as it is read.
func (d Duration) String() string { return event.FormatDuration(time.Duration(d)) }

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := event.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// MarshalText writes the duration as it is read.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Bytes is a number of bytes, written as a number or with a unit: 16MiB, 10GB.
type Bytes int64

// UnmarshalYAML reads a size.
func (b *Bytes) UnmarshalYAML(n *yaml.Node) error { return b.UnmarshalText([]byte(n.Value)) }

// UnmarshalJSON reads a size, a number or a string.
func (b *Bytes) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" { // leaves the value alone, as encoding/json does
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return b.UnmarshalText([]byte(text))
	}
	return b.UnmarshalText(raw)
}

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	digits := strings.TrimRight(s, "KMGTiBkb ")
	factor, ok := map[string]int64{
		"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}[strings.TrimSpace(s[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok || n < 0 || n > (1<<62)/factor {
		return event.Invalidf("%q is not a size such as 1048576, 16MiB or 10GB", s)
	}
	*b = Bytes(n * factor)
	return nil
}
