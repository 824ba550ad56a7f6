package flow

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/flow-functions.md")

// The page is what the functions say of themselves.
func TestFunctionPage(t *testing.T) {
	const page = "../../docs/flow-functions.md"
	want := functionPage()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || string(got) != want {
		t.Errorf("docs/flow-functions.md is not what the functions say: run go test ./internal/flow -run FunctionPage -update (%v)", err)
	}
	for name, f := range functions {
		if f.Doc == "" || !strings.HasSuffix(f.Doc, ".") {
			t.Errorf("%s has no sentence that says what it does: %q", name, f.Doc)
		}
		for _, p := range f.Parameters {
			if p.Doc == "" || !strings.HasSuffix(p.Doc, ".") {
				t.Errorf("%s: %s has no sentence that says what it is: %q", name, p.Name, p.Doc)
			}
		}
	}
}

const pageHead = `# What flows may call

A task of a flow calls a function of Tocsin's by its name:

` + "```yaml" + `
- tell:
    call: notify
    with: {title: '${ "\(.data.unit) is down" }', severity: critical, recipients: [group/ops]}
` + "```" + `

Beside these there are the language's own ` + "`call: http`" + ` and ` + "`call: openapi`" + `, and ` + "`call: status {status, message}`" + `, which sets what the event
about the run says. A flow runs as a service account: what it does is recorded as done by ` + "`flow/ID`" + `, and it may do
what its document asks for in ` + "`document.metadata.tocsin.scopes`" + ` (` + "`emit`" + ` where it says nothing; ` + "`admin`" + ` includes it).

All of them are done at least once: a crash between a deed and its record repeats the deed, under the same key. notify tells
once under that key; silence and suspend_user find what is done already; schedule finds its trigger; requests carry the key
as Idempotency-Key, and commands as IDEMPOTENCY_KEY in their environment.

A refusal is a failure that the flow can catch: validation 400 for a wrong argument and 404 for what is not there,
authorization 403 for a missing scope, runtime 409 where something stands against it, runtime 500 and timeout 408 for a
command that failed or took too long.

`

const pageTail = `
## Requests

` + "`call: http` and `call: openapi`" + ` go out by the rules of webhooks (` + "`egress.allow`, `egress.rewrite`" + `), ask no proxy and follow no
redirect: a redirect is an answer. They take a minute at most, or as long as a timeout in the flow says, up to 15 minutes, and
read 4 MiB of an answer. Where no answer came, the failure is communication 503; timeout 408 where none came in time;
authorization 403 where ` + "`egress.allow`" + ` does not let the call out; any status outside of 200 to 299 is communication with that status.
An OpenAPI document is used for five minutes before it is fetched again.

## Secrets

A secret is a text, or an object of texts, such as {"username", "password"}, kept sealed under a name
(` + "`POST /v1/secrets`" + `). A flow names those it uses in ` + "`use.secrets`" + ` and finds them in ` + "`$secrets`" + `. Values of six bytes or more are
masked wherever they would be written down: in journalled answers, failures, messages, and the record of commands.

## Commands

` + "`flows.commands`" + ` of the configuration names the programs, each with its arguments:
` + "`restart_unit: [/usr/bin/systemctl, restart, --, \"{unit}\"]`" + `. Only arguments written {word} come from the flow, each as one
argument, whatever is in it; no shell sees them. One that begins with "-" is refused, unless the configuration has a "--"
before it. The environment is clean, the folder is /, and there is no input. The last 64 KiB of each output are kept.
Each command leaves a flow.command event.
`

func functionPage() string {
	var b strings.Builder
	b.WriteString(pageHead)
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		f := functions[name]
		fmt.Fprintf(&b, "## %s\n\n%s", name, f.Doc)
		if f.PassesInput {
			b.WriteString(" The task's output is its input.")
		}
		fmt.Fprintf(&b, " Scope: %s.\n\n| with | | |\n|---|---|---|\n", cmp.Or(string(f.scope), "none"))
		for _, p := range f.Parameters {
			needed := ""
			if p.Required {
				needed = "required"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", p.Name, needed, strings.ReplaceAll(p.Doc, "|", "\\|"))
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n") + pageTail
}
