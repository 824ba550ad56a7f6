package e2e

import "testing"

// TestBrowserFlows drives the pages about flows: the editor that checks and draws,
// dry runs, triggers, the run that goes on while it is looked at, and secrets.
func TestBrowserFlows(t *testing.T) {
	browse(t, start(t, loopback), "browser_flows.cjs", 90, 14)
}
