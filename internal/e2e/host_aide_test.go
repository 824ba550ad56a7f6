package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A real AIDE: a file came, one went, one was changed, and a drop-in that may; the
// report is read from its file, and from the program that Tocsin runs.
func TestHostAide(t *testing.T) {
	t.Parallel()
	aide := tool(t, "aide")
	dir := t.TempDir()
	for _, d := range []string{"tree/dropin.d", "reports"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"changed", "gone"} {
		writeFile(t, filepath.Join(dir, "tree"), name, "before\n")
	}
	conf := writeFile(t, dir, "aide.conf", strings.ReplaceAll(`database_in=file:D/db
database_out=file:D/db.new
gzip_dbout=no
log_level=warning
report_level=changed_attributes
report_format=json
report_url=file:D/reports/aide.json
report_url=stdout
D/tree p+u+g+s+sha256+ftype
`, "D", dir))
	does(t, 0, nil, aide, "--config", conf, "--init")
	if err := os.Rename(filepath.Join(dir, "db.new"), filepath.Join(dir, "db")); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(dir, "reports", "aide.json")) // of the initialisation
	files := "sources: {aide_diff: {paths: [" + dir + "/reports/*.json], exclude: [" + dir + "/tree/dropin.d/**]}}"
	s := start(t, files)
	eventually(t, "the source looks", func() bool { return s.source("aide_diff")["status"] == "idle" })
	does(t, 0, nil, aide, "--config", conf, "--check")
	eventually(t, "the first report is read", func() bool { return s.source("aide_diff")["status"] == "running" })

	writeFile(t, filepath.Join(dir, "tree"), "changed", "afterwards\n")
	writeFile(t, filepath.Join(dir, "tree"), "new", "new\n")
	writeFile(t, filepath.Join(dir, "tree/dropin.d"), "x.conf", "new\n")
	if err := os.Remove(filepath.Join(dir, "tree", "gone")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "reports", "aide.json")); err != nil {
		t.Fatal(err)
	}
	does(t, 7, nil, aide, "--config", conf, "--check")
	number := func(n string) any { return json.Number(n) }
	path := func(name, change, attributes string) any {
		return object{"path": filepath.Join(dir, "tree", name), "change": change, "attributes": attributes}
	}
	got := s.told(`type == "aide_diff"`, "entries")
	want := object{
		"added": number("1"), "removed": number("1"), "changed": number("1"), "excluded": number("1"), "more": number("0"), "report": filepath.Join(dir, "reports", "aide.json"),
		"paths": []any{path("changed", "changed", "sha256 size"), path("new", "added", "f++++++++++++++++"), path("gone", "removed", "f----------------")},
	}
	for _, p := range got["paths"].([]any) {
		p := p.(object)
		if a := text(p["attributes"]); strings.HasPrefix(a, "f+") || strings.HasPrefix(a, "f-") {
			p["attributes"] = a[:2] + strings.Repeat(a[1:2], 15) // as many as there are attributes
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Restarted, and with a scan of its own: the report of the file is not told again.
	s.stop()
	s = startOn(t, s.data, "sources: {aide_diff: {paths: ["+dir+"/reports/*.json], command: ["+aide+", --config, "+conf+", --check], every: 1h, exclude: ["+dir+"/tree/**]}}")
	s.must("emit", "settled")
	s.one(`type == "aide_diff"`)
	writeFile(t, dir, "aide.conf", strings.ReplaceAll("database_in=file:D/db\nreport_level=changed_attributes\nreport_format=json\nreport_url=stdout\nD/tree p+u+g+s+sha256+ftype\n", "D", dir))
	s = startOn(t, t.TempDir(), "sources: {aide_diff: {paths: [], command: ["+aide+", --config, "+conf+", --check], every: 1h, exclude: []}}")
	got = s.told(`type == "aide_diff"`, "entries", "paths")
	want = object{
		"added": number("2"), "removed": number("1"), "changed": got["changed"], "excluded": number("0"), "more": number("0"),
		"report": aide + " --config " + conf + " --check", "exit_status": number("7"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
