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

// What docs/custom-source.md shows for those without Go does what the page says.
func TestHostCustomSource(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, "docs", "custom-source.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	block := func(name string) string {
		_, text, found := strings.Cut(string(page), "```"+name+"\n")
		text, _, whole := strings.Cut(text, "```\n")
		if !found || !whole {
			t.Fatalf("the page has no block %s", name)
		}
		return strings.NewReplacer("/usr/local/bin", dir+"/bin", "/srv/events", dir+"/events").Replace(text)
	}
	for _, d := range []string{"bin", "events"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", "room"), []byte(block("sh exec")), 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, block("yaml exec")+strings.TrimPrefix(block("yaml folder"), "sources:\n"))
	does(t, 0, nil, "/bin/sh", "-ec", block("sh folder"))
	emit := strings.Fields(strings.TrimPrefix(block("sh emit"), "tocsin "))
	s.must(emit...)
	for subject, celsius := range map[string]string{"room/7": "41.5", "room/8": "42.0", "room/9": "43.0"} {
		filter := `type == "room.hot" && severity == warn && subject == "` + subject + `" && data.celsius == ` + celsius
		eventually(t, filter, func() bool { return len(s.find("filter", filter).Events) == 1 })
	}
}
