package e2e

import "testing"

// TestBrowserHosts looks at sources and agents in real Chromium: all fifteen
// sources of seed 000, with what they make, their options, and the last day.
func TestBrowserHosts(t *testing.T) {
	s := start(t)
	browse(t, s, "browser_hosts.cjs", 110, 25, "FORWARD="+s.newToken("agents", "forward"))
}
