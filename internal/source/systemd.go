package source

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
)

// backupUnits are services that make backups. The sources of backups tell how
// they end; service_down and cron_failed leave them out.
var backupUnits = []string{"*backup*", "restic*", "borg*", "rustic*", "kopia*", "duplicity*"} //nolint:gochecknoglobals // a constant table

// checkGlobs finds mistakes in patterns of unit names.
func checkGlobs(option string, globs []string) error {
	for _, g := range globs {
		if _, err := path.Match(g, ""); err != nil || g == "" {
			return event.Invalidf("%s: %q is no pattern of unit names", option, g)
		}
	}
	return nil
}

// matches tells whether one of the patterns fits a service, with or without the
// ending of its name.
func matches(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(g string) bool {
		full, _ := path.Match(g, name)
		short, _ := path.Match(g, strings.TrimSuffix(name, ".service"))
		return full || short
	})
}

// unitSubject is the subject of events about a unit. A name may hold any byte
// but those that systemd escapes.
func unitSubject(kind, name string) string {
	return kind + "/" + strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7F || r == '\uFFFD' {
			return '-'
		}
		return r
	}, name)
}

// byTimer tells whether a timer starts the unit.
func (u *unit) byTimer() bool {
	return slices.ContainsFunc(u.triggeredBy, func(by string) bool { return strings.HasSuffix(by, ".timer") })
}

// tellsItself: what runs under tocsin run is told by that.
func (u *unit) tellsItself() bool { return slices.Contains(u.programs, "tocsin") }

// slots is how many events about one thing are told before further ones are folded.
const slots = 3

// slot is the key under which to tell a finding of a thing, so that n are told
// in a window; free says that it will be told, and not counted.
func (f *flood) slot(thing string, n int) (key string, free bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range n {
		key = thing + "#" + strconv.Itoa(i)
		if f.open[key] == nil {
			return key, len(f.open) < f.burst
		}
	}
	return key, false
}
