package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A program and a folder give events, with a line of configuration each; a stop of
// the server ends the program, and what came while it was down is taken.
func TestHostExecAndFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lines := []string{strings.ReplaceAll(`sources:
  exec:
    commands:
      - {name: room, argv: [/bin/sh, -c, "echo $$ > D/pid; echo '{\"type\":\"room.hot\",\"severity\":\"warn\",\"subject\":\"room/7\",\"data\":{\"celsius\":41.5}}'; echo no; exec sleep 1000"]}
  folder: {paths: [D/drop]}`, "D", dir), "public_url: https://t.example"}
	s := start(t, lines...)
	var e object
	eventually(t, "the program's event", func() bool {
		found := s.find("filter", `type == "room.hot"`).Events
		if len(found) > 0 {
			e = found[0]
		}
		return e != nil
	})
	if e["source"] != "https://t.example/exec/room" || e["severitytext"] != "warn" || e["subject"] != "room/7" || text(e["host"]) == "" {
		t.Errorf("%v", e)
	}
	eventually(t, "a line that is no event is named", func() bool { return strings.Contains(text(s.source("exec")["last_error"]), "room: line 2: ") })
	if row := s.source("folder"); row["status"] != "unavailable" || !strings.Contains(text(row["lacks"]), dir+"/drop") {
		t.Errorf("%v", row)
	}
	pid, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	if _, err := os.Stat("/proc/" + strings.TrimSpace(string(pid))); err == nil {
		t.Error("the program outlives the server")
	}
	if err := os.Mkdir(filepath.Join(dir, "drop"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "drop"), "a.json", `{"type":"door.open","id":"door-1","data":{"door":7}}`)
	writeFile(t, filepath.Join(dir, "drop"), "b.json", `{"type":"door.open"`)
	s = startOn(t, s.data, lines...)
	eventually(t, "the file's event", func() bool { return len(s.find("filter", `id == "door-1" && data.door == 7`).Events) == 1 })
	eventually(t, "the bad file is set aside", func() bool {
		_, err := os.Stat(filepath.Join(dir, "drop", "bad", "b.json.reason"))
		return err == nil
	})
	if _, err := os.Stat(filepath.Join(dir, "drop", "a.json")); err == nil {
		t.Error("a file that was taken is still there")
	}
}
