package program

import (
	"slices"
	"strings"
)

// use checks what a document defines to be used by its tasks. A definition is
// compiled where it is used, with the variables of that place; here it is looked
// at once, so that a mistake in an unused one is found, too.
func (c *compiler) use(n *node) {
	if n == nil || !c.object(n, "use", "authentications", "catalogs", "errors", "extensions", "functions", "retries", "secrets", "timeouts") {
		return
	}
	for _, never := range []string{"extensions", "catalogs"} {
		if f := n.field(never); f != nil {
			c.fail(f, "write the tasks where they run", "unsupported: use.%s", never)
		}
	}
	if secrets := n.field("secrets"); secrets != nil {
		c.useSecrets(secrets)
	}
	c.each(n.field("errors"), func(_ string, d *node) { c.errorDefinition(d) })
	c.each(n.field("authentications"), func(_ string, d *node) { c.auth(d) })
	c.each(n.field("retries"), func(_ string, d *node) { c.retry(d) })
	c.each(n.field("timeouts"), func(_ string, d *node) { c.timeout(d) })
	c.each(n.field("functions"), func(name string, d *node) {
		if _, taken := c.options.Functions[name]; taken || slices.Contains([]string{"http", "openapi", "status", "grpc", "asyncapi", "mcp", "a2a"}, name) {
			c.fail(d, "give it another name", "the function %q is there already", name)
		}
	})
}

func (c *compiler) each(n *node, check func(name string, d *node)) {
	if n == nil {
		return
	}
	if n.kind != object {
		c.fail(n, "write name: {…}", "this is an object with a definition for each name, not %s", n.what())
		return
	}
	for _, f := range n.fields {
		check(f.name, f.value)
	}
}

func (c *compiler) useSecrets(n *node) {
	if n.kind != array {
		c.fail(n, "write [name]", "use.secrets is a list of names")
		return
	}
	for _, item := range n.items {
		name, ok := item.text()
		if !ok || name == "" {
			c.fail(item, "", "the name of a secret is a text")
			continue
		}
		c.secrets = append(c.secrets, name)
	}
}

// checkSecrets finds expressions that use a secret which is not declared. It sees
// $secrets.name and leaves other forms to the run.
func (c *compiler) checkSecrets(n *node, source string) {
	for rest := source; ; {
		_, after, found := strings.Cut(rest, "$secrets.")
		if !found {
			return
		}
		end := strings.IndexFunc(after, func(r rune) bool {
			return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		})
		name := after
		if end >= 0 {
			name = after[:end]
		}
		if name != "" && !slices.Contains(c.secrets, name) {
			c.fail(n, "add it to use.secrets", "the secret %q is not declared", name)
		}
		rest = after
	}
}
