package source

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What systemd's own records mean (sd-messages(3)).
const (
	messageStarting  = "7d4958e842da4a758f6c1cdc7b36dcc5" // a start begins
	messageStarted   = "39f53479d3a045ac8e11786248231fbf"
	messageStopping  = "de5b426a63be47a7b6ac3eaac82e2f6f"
	messageExited    = "98e322203f7a4ed290d09fe03c09fe15" // a process ended badly: EXIT_CODE, EXIT_STATUS
	messageFailed    = "d9b373ed55a64feb8242e02dbe79a49c" // UNIT_RESULT says how
	messageSucceeded = "7ad2d189f7e94e70a38c781354912448"
)

// field is a value in journalctl's JSON: text, bytes as numbers where it is none,
// null where it is too long, or several of these.
type field string

// UnmarshalJSON takes the first of several values.
func (f *field) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		*f = field(text)
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
		return nil //nolint:nilerr // null, or nothing that we know: the field is left empty
	}
	var bytes []uint8
	for _, one := range list {
		n, err := strconv.ParseUint(string(one), 10, 8)
		if err != nil {
			return f.UnmarshalJSON(list[0])
		}
		bytes = append(bytes, uint8(n))
	}
	*f = field(strings.ToValidUTF8(string(bytes), "\uFFFD"))
	return nil
}

// record is one of the journal. Fields that begin with an underscore are
// journald's own, and can't be forged by who writes.
type record struct {
	Cursor    field `json:"__CURSOR"`
	Realtime  field `json:"__REALTIME_TIMESTAMP"` // microseconds
	Monotonic field `json:"__MONOTONIC_TIMESTAMP"`
	Boot      field `json:"_BOOT_ID"`
	PID       field `json:"_PID"`
	UID       field `json:"_UID"`
	Comm      field `json:"_COMM"`
	Of        field `json:"_SYSTEMD_INVOCATION_ID"` // the run that wrote it, where journald was in time to see that
	Message   field `json:"MESSAGE"`
	ID        field `json:"MESSAGE_ID"`
	Unit      field `json:"UNIT"`
	UserUnit  field `json:"USER_UNIT"`
	Run       field `json:"INVOCATION_ID"`
	UserRun   field `json:"USER_INVOCATION_ID"`
	Result    field `json:"UNIT_RESULT"`
	ExitCode  field `json:"EXIT_CODE"`
	Exit      field `json:"EXIT_STATUS"`
}

const recordFields = "_BOOT_ID,_PID,_UID,_COMM,_SYSTEMD_INVOCATION_ID,MESSAGE,MESSAGE_ID,UNIT,USER_UNIT,INVOCATION_ID,USER_INVOCATION_ID,UNIT_RESULT,EXIT_CODE,EXIT_STATUS"

// time is when journald received the record.
func (r *record) time() time.Time {
	us, err := strconv.ParseInt(string(r.Realtime), 10, 64)
	if err != nil || us <= 0 {
		return time.Now().UTC()
	}
	return time.UnixMicro(us).UTC()
}

// since is how long after another record this one came, whatever the clock did.
func (r *record) since(o *record) time.Duration {
	here, err1 := strconv.ParseInt(string(r.Monotonic), 10, 64)
	there, err2 := strconv.ParseInt(string(o.Monotonic), 10, 64)
	if err1 != nil || err2 != nil || r.Boot != o.Boot || here < there {
		return max(r.time().Sub(o.time()), 0)
	}
	return time.Duration(here-there) * time.Microsecond
}

// before tells whether a record came before another, whatever the clock did; of
// another boot it did. Within a second they are one: journald takes in what is
// printed by another way than records of systemd, and maybe sooner.
func (r *record) before(o *record) bool {
	here, _ := strconv.ParseInt(string(r.Monotonic), 10, 64)
	there, _ := strconv.ParseInt(string(o.Monotonic), 10, 64)
	return r.Boot != o.Boot || here < there-time.Second.Microseconds()
}

// unit is the unit that a record of a service manager is about, and its run. A
// unit of the system is believed to process 1 alone; one of a user to any process
// of that user, who may let units fail as he likes anyway.
func (r *record) unit() (name, run, uid string, ok bool) {
	switch {
	case r.Unit != "" && r.PID == "1":
		return string(r.Unit), string(r.Run), "", true
	case r.Unit == "" && r.UserUnit != "" && r.UID != "":
		return string(r.UserUnit), string(r.UserRun), string(r.UID), true
	default:
		return "", "", "", false
	}
}

// journal is what the sources ask of systemd's journal.
type journal interface {
	// ready is nil, or an absentError.
	ready() error
	// follow gives the records that match, from a place on, until ctx ends or give
	// fails. The place is a cursor, or "@" and seconds since 1970.
	follow(ctx context.Context, from string, match []string, give func(*record) error) error
	// records gives the last ones that match, oldest first.
	records(ctx context.Context, last int, match ...string) ([]record, error)
}

// journalctl reads the journal by that program: its files have several formats
// and compressions, and no reader in pure Go knows all.
type journalctl struct{ dir string }

// longestRecord is the largest record that is looked at, in bytes.
const longestRecord = 1 << 20

// longestOutput is how much of what a unit printed is told, in bytes, from its end.
const longestOutput = 4096

func (j *journalctl) ready() error {
	if _, err := exec.LookPath("journalctl"); err != nil {
		return &absentError{"there is no journalctl on this machine: systemd's journal is read by it"}
	}
	folders := []string{"/var/log/journal", "/run/log/journal"}
	if j.dir != "" {
		folders = []string{j.dir}
	}
	denied := ""
	for _, folder := range folders {
		below, _ := os.ReadDir(folder)
		dirs := []string{folder}
		for _, e := range below {
			if e.IsDir() {
				dirs = append(dirs, filepath.Join(folder, e.Name()))
			}
		}
		for _, dir := range dirs {
			readable, closed := systemJournal(dir)
			if readable {
				return nil
			}
			denied = cmp.Or(denied, closed)
		}
	}
	if denied != "" {
		return &absentError{"no permission to read " + denied + ": add the server's user to the group systemd-journal, as docs/privileges.md says"}
	}
	return &absentError{"there is no journal in " + strings.Join(folders, " or ") + ": is systemd-journald running?"}
}

// systemJournal tells whether a folder has a journal of the system that may be
// read, and else what is closed.
func systemJournal(dir string) (readable bool, closed string) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return false, dir
	}
	for _, e := range files {
		if !strings.HasPrefix(e.Name(), "system") || !strings.HasSuffix(e.Name(), ".journal") {
			continue
		}
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err == nil {
			_ = f.Close() // nothing was written
			return true, ""
		}
		if errors.Is(err, fs.ErrPermission) {
			closed = filepath.Join(dir, e.Name())
		}
	}
	return false, closed
}

func (j *journalctl) command(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--quiet", "--no-pager", "--output=json", "--output-fields=" + recordFields}, args...)
	if j.dir != "" {
		args = append([]string{"--directory=" + j.dir}, args...)
	}
	cmd := exec.CommandContext(ctx, "journalctl", args...) //nolint:gosec // no shell, and each argument begins with the name of an option or field
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "SYSTEMD_LOG_LEVEL=err"}
	cmd.WaitDelay = time.Second
	return cmd
}

// follow implements journal. The child ends with us even where we are killed: it
// watches its standard output.
func (j *journalctl) follow(ctx context.Context, from string, match []string, give func(*record) error) error {
	// Not --after-cursor: it passes over two records where the first is gone.
	place := "--cursor=" + from
	if strings.HasPrefix(from, "@") {
		place = "--since=" + from
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := j.command(ctx, append([]string{"--follow", "--no-tail", place}, match...)...)
	var complaint firstWords
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("journalctl: %w", err)
	}
	given := eachRecord(out, func(r *record) error {
		if string(r.Cursor) == from {
			return nil
		}
		return give(r)
	})
	stop()
	ended := cmd.Wait()
	switch {
	case given != nil:
		return given
	case complaint.text != "":
		return &absentError{"journalctl has ended: " + complaint.text}
	default:
		return &absentError{fmt.Sprintf("journalctl has ended (%v): it is started anew", ended)}
	}
}

// records implements journal.
func (j *journalctl) records(ctx context.Context, last int, match ...string) ([]record, error) {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	cmd := j.command(ctx, append([]string{"--lines=" + strconv.Itoa(last)}, match...)...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("journalctl: %w", err)
	}
	var all []record
	given := eachRecord(out, func(r *record) error { all = append(all, *r); return nil })
	return all, errors.Join(given, cmd.Wait())
}

// outputOf is the last of what a run of a unit of the system printed. Of a run that
// is over within milliseconds journald may know no more than the unit; then it is
// what the unit printed at about that time.
func outputOf(ctx context.Context, j journal, u *unit, lines int) string {
	all, err := j.records(ctx, lines, "_SYSTEMD_INVOCATION_ID="+u.invocation)
	if err == nil && len(all) == 0 {
		all, err = j.records(ctx, lines, "_SYSTEMD_UNIT="+u.name)
		all = slices.DeleteFunc(all, func(r record) bool { return r.Of != "" || r.time().Sub(u.changed).Abs() > about })
	}
	if err != nil {
		return "" // it is a help, and its lack no reason to tell less
	}
	return printed(all)
}

// about is how far from a unit's end lines are taken for those of its last run.
const about = 5 * time.Second

// printed is what records say, the end of it.
func printed(records []record) string {
	var b strings.Builder
	for i := range records {
		b.WriteString(string(records[i].Message))
		b.WriteByte('\n')
	}
	text := b.String()
	if len(text) > longestOutput {
		text = text[len(text)-longestOutput:]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// eachRecord decodes records, one a line. What is too long, or none, is left out.
func eachRecord(in io.Reader, give func(*record) error) error {
	lines := bufio.NewReaderSize(in, 64<<10)
	var long []byte
	for {
		part, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if len(long) <= longestRecord {
				long = append(long, part...)
			}
			continue
		}
		if err != nil {
			return nil //nolint:nilerr // the program has ended: it says why itself
		}
		line := part
		if long != nil {
			line, long = append(long, part...), nil
		}
		var r record
		if len(line) > longestRecord || json.Unmarshal(line, &r) != nil {
			continue
		}
		if err := give(&r); err != nil {
			return err
		}
	}
}

// firstWords keeps the first line of what a program complains of.
type firstWords struct{ text string }

func (l *firstWords) Write(p []byte) (int, error) {
	line, _, _ := bytes.Cut(bytes.TrimSpace(p), []byte("\n"))
	l.text = cmp.Or(l.text, string(line[:min(len(line), 300)]))
	return len(p), nil
}
