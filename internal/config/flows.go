package config

import (
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Flows bounds what flows may do.
type Flows struct {
	Folder   string              `yaml:"folder" doc:"Folder whose files (*.yaml, *.yml, *.json) are flows and are kept in step with it; empty for none."`
	MaxSteps int                 `yaml:"max_steps" doc:"How many tasks one run may start."`
	MaxTime  Duration            `yaml:"max_time" doc:"How long one run may compute; waiting for others does not count."`
	Commands map[string][]string `yaml:"commands" doc:"Programs that flows may run, by a name, each with its arguments as a list; an argument {word} is filled in by the flow."`
}

const (
	maxSteps = 10_000_000
	maxTime  = time.Hour
)

var (
	commandName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)
	// CommandWord is an argument of a command that a flow fills in.
	CommandWord = regexp.MustCompile(`^\{([a-z][a-z0-9_]{0,63})\}$`)
	halfWord    = regexp.MustCompile(`\{[a-z][a-z0-9_]{0,63}\}`)
)

// Validate checks the limits and the commands.
func (f *Flows) Validate() []error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, event.Invalidf(format, args...)) }
	if f.MaxSteps < 1 || f.MaxSteps > maxSteps {
		bad("flows.max_steps: %d is out of range: 1 to %d", f.MaxSteps, maxSteps)
	}
	if f.MaxTime < Duration(time.Second) || f.MaxTime > Duration(maxTime) {
		bad("flows.max_time: %s is out of range: 1s to 1h", f.MaxTime)
	}
	for name, argv := range f.Commands {
		switch {
		case !commandName.MatchString(name):
			bad("flows.commands: %q is no name: a small letter, then small letters, digits, - and _", name)
		case len(argv) == 0:
			bad("flows.commands.%s: it is empty: write [/path/of/program, argument, …]", name)
		case !filepath.IsAbs(argv[0]):
			bad("flows.commands.%s: %q is no absolute path of a program", name, argv[0])
		}
		for _, word := range argv {
			if halfWord.MatchString(word) && !CommandWord.MatchString(word) {
				bad("flows.commands.%s: %q: what a flow fills in is a whole argument: write it as one of its own", name, word)
			}
		}
	}
	slices.SortFunc(problems, func(a, b error) int { // a map has no order
		if a.Error() < b.Error() {
			return -1
		}
		return 1
	})
	return problems
}
