package e2e

import "testing"

// TestBrowserRules drives the pages about what is told: rules and their live
// preview, the routing matrix, policies, explain and back-test.
func TestBrowserRules(t *testing.T) {
	browse(t, start(t, "egress: {allow: [127.0.0.0/8]}"), "browser_rules.cjs", 100, 18)
}
