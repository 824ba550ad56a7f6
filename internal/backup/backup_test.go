package backup

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	resticJSON  = `{"message_type":"status","percent_done":0}` + "\n" + `{"message_type":"summary","data_added":716,"total_files_processed":1,"snapshot_id":"03a6e99b"}` + "\n"
	resticError = `{"message_type":"error","error":{"Op":"open","Path":"src/b","Err":13},"during":"archival","item":"/home/src/b"}` + "\nWarning: at least one source file could not be read\n"
	borgJSON    = "{\n  \"archive\": {\"name\": \"monday\", \"stats\": {\"nfiles\": 3, \"deduplicated_size\": 460}}\n}\n"
	borgWarning = `{"type": "log_message", "message": "src/b: open: [Errno 13] Permission denied: 'b'", "levelname": "WARNING", "name": "borg.archiver"}` + "\n"
)

// What real programs of Debian 12 print (restic 0.14, borg 1.2.4), and newer ones.
func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		tool, stdout, stderr string
		status               int
		want                 Report
		ok                   bool
	}{
		"restic": {"restic", resticJSON, "", 0, Report{Snapshot: "03a6e99b", Bytes: new(int64(716)), Files: new(int64(1))}, true},
		"restic incomplete": {"restic", resticJSON, resticError, 3, Report{
			Snapshot: "03a6e99b", Bytes: new(int64(716)), Files: new(int64(1)), Fault: "open /home/src/b failed during archival",
			Warnings: []string{"open /home/src/b failed during archival", "Warning: at least one source file could not be read"},
		}, false},
		"restic newer": {"restic", resticJSON, `{"message_type":"error","error":{"message":"open /x: permission denied"},"item":"/x"}`, 3, Report{
			Snapshot: "03a6e99b", Bytes: new(int64(716)), Files: new(int64(1)), Fault: "open /x: permission denied", Warnings: []string{"open /x: permission denied"},
		}, false},
		"restic for people": {"restic", "processed 12 files, 2 B in 0:00\nsnapshot d877753e saved\n", "", 0, Report{Snapshot: "d877753e", Files: new(int64(12))}, true},
		"restic refused": {"restic", "", "Fatal: wrong password or no key found\n", 1, Report{
			Fault: "Fatal: wrong password or no key found", Warnings: []string{"Fatal: wrong password or no key found"},
		}, false},
		"borg": {"borg", borgJSON, "", 0, Report{Snapshot: "monday", Bytes: new(int64(460)), Files: new(int64(3))}, true},
		"borg with warnings": {"borg", borgJSON, borgWarning, 1, Report{
			Snapshot: "monday", Bytes: new(int64(460)), Files: new(int64(3)), Fault: "src/b: open: [Errno 13] Permission denied: 'b'",
			Warnings: []string{"src/b: open: [Errno 13] Permission denied: 'b'"},
		}, true},
		"borg with modern warnings": {"borg", borgJSON, borgWarning, 107, Report{
			Snapshot: "monday", Bytes: new(int64(460)), Files: new(int64(3)), Fault: "src/b: open: [Errno 13] Permission denied: 'b'",
			Warnings: []string{"src/b: open: [Errno 13] Permission denied: 'b'"},
		}, true},
		"borg not found":         {"borg", "", "", 127, Report{}, false},
		"borg for people":        {"borg", "", "Archive name: tuesday\nNumber of files: 7\n", 0, Report{Snapshot: "tuesday", Files: new(int64(7)), Fault: "Number of files: 7"}, true},
		"borg without archive":   {"borg", "", "no such repository\n", 1, Report{Fault: "no such repository"}, false},
		"another with 1":         {"rsync", "", "", 1, Report{}, false},
		"unknown, in one stream": {"", "a { brace\n" + borgJSON, "", 0, Report{Snapshot: "monday", Bytes: new(int64(460)), Files: new(int64(3))}, true},
		"garbage":                {"", "{\n{\n{\x00\xff", "{}\n{\"error\":7}", 2, Report{Fault: `{"error":7}`, Warnings: []string{`{"error":7}`}}, false},
	} {
		got := Read(c.tool, c.stdout, c.stderr)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if got.Succeeded(c.tool, c.status) != c.ok {
			t.Errorf("%s: succeeded %v with status %d", name, !c.ok, c.status)
		}
	}
}

// Thousands of complaints are ten.
func TestReadBounded(t *testing.T) {
	r := Read("borg", strings.Repeat("{\n", 100_000), strings.Repeat(borgWarning, 10_000))
	if len(r.Warnings) != mostWarnings || r.Snapshot != "" {
		t.Errorf("%d warnings, snapshot %q", len(r.Warnings), r.Snapshot)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("restic", resticJSON, resticError)
	f.Add("borg", borgJSON, borgWarning)
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, tool, stdout, stderr string) {
		r := Read(tool, stdout, stderr)
		data := map[string]any{}
		r.Into(data)
		if len(r.Warnings) > mostWarnings || r.Snapshot == "" && data["snapshot"] != nil {
			t.Errorf("%+v", r)
		}
	})
}
