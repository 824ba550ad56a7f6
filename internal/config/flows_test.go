package config_test

import (
	"strings"
	"testing"
)

func TestFlows(t *testing.T) {
	c, err := load(t, "flows: {folder: /etc/tocsin/flows, max_steps: 5, max_time: 2s, commands: {restart: [/bin/systemctl, restart, --, \"{unit}\"]}}")
	if err != nil || c.Flows.Folder != "/etc/tocsin/flows" || c.Flows.MaxSteps != 5 || len(c.Flows.Commands["restart"]) != 4 {
		t.Errorf("%+v, %v", c.Flows, err)
	}
	for text, says := range map[string]string{
		"max_steps: 0":                             "flows.max_steps",
		"max_time: 2h":                             "flows.max_time",
		"commands: {Restart: [/bin/x]}":            `"Restart" is no name`,
		"commands: {x: []}":                        "is empty",
		"commands: {x: [systemctl]}":               "absolute path",
		`commands: {x: [/bin/x, "--unit={unit}"]}`: "whole argument",
		`commands: {x: ["{program}"]}`:             "absolute path",
		"comands: {}":                              `unknown key "comands"`,
	} {
		if _, err := load(t, "flows: {"+text+"}"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
	if _, err := load(t, `flows: {commands: {awk: [/usr/bin/awk, "{ print $1 }", '{"a":1}']}}`); err != nil {
		t.Errorf("braces that are no words: %v", err)
	}
}
