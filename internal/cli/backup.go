package cli

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// summarise reads bytes, files and snapshot from what a backup program printed.
func summarise(tool, stdout string, data map[string]any) {
	switch tool {
	case "restic":
		resticSummary(stdout, data)
	case "borg":
		borgSummary(stdout, data)
	}
}

var (
	resticSaved = regexp.MustCompile(`snapshot ([0-9a-f]{8,64}) saved`)
	resticFiles = regexp.MustCompile(`processed (\d+) files`)
)

// resticSummary reads the last JSON line of restic backup --json, or else the
// two lines that people read.
func resticSummary(stdout string, data map[string]any) {
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	for _, line := range slices.Backward(lines) {
		var s struct {
			Type     string `json:"message_type"`
			Snapshot string `json:"snapshot_id"`
			Added    int64  `json:"data_added"`
			Files    int64  `json:"total_files_processed"`
		}
		if json.Unmarshal([]byte(line), &s) == nil && s.Type == "summary" {
			data["snapshot"], data["bytes"], data["files"] = s.Snapshot, s.Added, s.Files
			return
		}
	}
	if m := resticSaved.FindStringSubmatch(stdout); m != nil {
		data["snapshot"] = m[1]
	}
	if m := resticFiles.FindStringSubmatch(stdout); m != nil {
		if n, err := strconv.ParseInt(m[1], 10, 64); err == nil {
			data["files"] = n
		}
	}
}

// borgSummary reads the object that borg create --json prints.
func borgSummary(stdout string, data map[string]any) {
	from := strings.IndexByte(stdout, '{')
	if from < 0 {
		return
	}
	var s struct {
		Archive struct {
			Name  string `json:"name"`
			Stats struct {
				Files int64 `json:"nfiles"`
				Added int64 `json:"deduplicated_size"`
			} `json:"stats"`
		} `json:"archive"`
	}
	if json.NewDecoder(strings.NewReader(stdout[from:])).Decode(&s) != nil || s.Archive.Name == "" {
		return
	}
	data["snapshot"], data["bytes"], data["files"] = s.Archive.Name, s.Archive.Stats.Added, s.Archive.Stats.Files
}
