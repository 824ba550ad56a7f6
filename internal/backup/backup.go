// Package backup knows how backup programs say what they did: restic and borg by
// what they print, all others by their exit status.
//
// It promises: whatever a program prints is read without a panic, in time linear
// in its length; what it does not say is left out.
package backup

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Report is what a program said of one backup.
type Report struct {
	Snapshot string   // id or name
	Bytes    *int64   // that were added
	Files    *int64   // that were looked at
	Warnings []string // what could not be saved, as it says it; the first ten
	Fault    string   // the line that says best why it failed
}

const mostWarnings = 10

// Read reads what a program printed: its standard output and error, or both in
// one where they were not kept apart. The tool is its name, empty where that is
// not known.
func Read(tool, stdout, stderr string) Report {
	var r Report
	if tool != "borg" && tool != "borgmatic" {
		r.restic(stdout)
	}
	if r.Snapshot == "" && tool != "restic" {
		r.borg(stdout)
	}
	if r.Snapshot == "" && tool == "borg" {
		r.borg(stderr) // --stats writes there
	}
	r.complaints(stderr)
	return r
}

// Succeeded tells whether an exit status means that all was saved. Borg ends with
// 1, or from 100 to 127 (BORG_EXIT_CODES=modern, the default of Borg 2), when it
// reached its normal end with warnings; restic's 3 is a snapshot from
// which something is missing.
func (r *Report) Succeeded(tool string, status int) bool {
	warned := status == 1 || status >= 100 && status <= 127
	return status == 0 || warned && tool == "borg" && r.Snapshot != ""
}

// Into writes what is known into the data of an event.
func (r *Report) Into(data map[string]any) {
	if r.Snapshot != "" {
		data["snapshot"] = r.Snapshot
	}
	if r.Bytes != nil {
		data["bytes"] = *r.Bytes
	}
	if r.Files != nil {
		data["files"] = *r.Files
	}
	if len(r.Warnings) > 0 {
		data["warnings"] = r.Warnings
	}
}

var (
	resticSaved = regexp.MustCompile(`snapshot ([0-9a-f]{8,64}) saved`)
	resticFiles = regexp.MustCompile(`processed (\d{1,18}) files`)
	borgName    = regexp.MustCompile(`(?m)^Archive name: (.+)$`)
	borgFiles   = regexp.MustCompile(`(?m)^Number of files: (\d{1,18})$`)
)

// restic reads the last JSON line of restic backup --json, or else the two lines
// that people read.
func (r *Report) restic(stdout string) {
	for _, line := range slices.Backward(strings.Split(strings.TrimSpace(stdout), "\n")) {
		var s struct {
			Type     string `json:"message_type"`
			Snapshot string `json:"snapshot_id"`
			Added    int64  `json:"data_added"`
			Files    int64  `json:"total_files_processed"`
		}
		if json.Unmarshal([]byte(line), &s) == nil && s.Type == "summary" {
			r.Snapshot, r.Bytes, r.Files = s.Snapshot, &s.Added, &s.Files
			return
		}
	}
	if m := resticSaved.FindStringSubmatch(stdout); m != nil {
		r.Snapshot, r.Files = m[1], figure(resticFiles, stdout)
	}
}

// borg reads the object that borg create --json prints, or else what --stats does.
func (r *Report) borg(stdout string) {
	// What is printed before the object may hold a brace, too.
	for from, tries := strings.Index(stdout, "{\n"), 0; from >= 0 && tries < 16; tries++ {
		var s struct {
			Archive struct {
				Name  string `json:"name"`
				Stats struct {
					Files int64 `json:"nfiles"`
					Added int64 `json:"deduplicated_size"`
				} `json:"stats"`
			} `json:"archive"`
		}
		if json.NewDecoder(strings.NewReader(stdout[from:])).Decode(&s) == nil && s.Archive.Name != "" {
			r.Snapshot, r.Bytes, r.Files = s.Archive.Name, &s.Archive.Stats.Added, &s.Archive.Stats.Files
			return
		}
		next := strings.Index(stdout[from+1:], "{\n")
		if next < 0 {
			break
		}
		from += 1 + next
	}
	if m := borgName.FindStringSubmatch(stdout); m != nil {
		r.Snapshot, r.Files = strings.TrimSpace(m[1]), figure(borgFiles, stdout)
	}
}

func figure(pattern *regexp.Regexp, text string) *int64 {
	m := pattern.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// complaints reads warnings and errors, of restic's JSON, borg's, or plain lines.
func (r *Report) complaints(stderr string) {
	last := ""
	for line := range strings.SplitSeq(stderr, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		text, isError, known := message(line)
		switch {
		case !known:
			continue
		case isError && r.Fault == "":
			r.Fault = text
		}
		if text != "" && len(r.Warnings) < mostWarnings && warns(line, isError) {
			r.Warnings = append(r.Warnings, text)
		}
		last = text
	}
	if r.Fault == "" {
		r.Fault = last
	}
}

// message is what a line says. known is false for JSON that is no message.
func message(line string) (text string, isError, known bool) {
	var m struct {
		Level   string `json:"levelname"` // of borg
		Message string `json:"message"`
		Item    string `json:"item"` // of restic
		During  string `json:"during"`
		Error   *struct {
			Message string `json:"message"` // since 0.17; before it is a Go error's fields
			Op      string `json:"Op"`
			Path    string `json:"Path"`
		} `json:"error"`
	}
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &m) != nil {
		lower := strings.ToLower(line)
		return line, strings.Contains(lower, "error") || strings.Contains(lower, "fatal") || strings.Contains(lower, "unable"), true
	}
	switch {
	case m.Error != nil && m.Error.Message != "":
		return m.Error.Message, true, true
	case m.Error != nil && m.Item != "":
		return strings.TrimSpace(m.Error.Op + " " + m.Item + " failed" + during(m.During)), true, true
	case m.Message != "":
		return m.Message, m.Level == "" || m.Level == "ERROR" || m.Level == "CRITICAL", true
	default:
		return "", false, false
	}
}

func during(what string) string {
	if what == "" {
		return ""
	}
	return " during " + what
}

// warns tells whether a line says that something could not be saved.
func warns(line string, isError bool) bool {
	return isError || strings.Contains(line, `"WARNING"`) || strings.Contains(line, "[Errno ") || strings.HasPrefix(line, "Warning:")
}
