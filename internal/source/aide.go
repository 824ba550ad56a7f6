package source

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: AIDE's report in JSON (report_format=json, AIDE 0.18 and later), from
// files that a daily scan writes, read when they change; or from the standard output
// of a program that the operator names, run at a time of the day or at an interval.
// Makes: aide_diff, once for each report that shows a difference outside the
// excluded paths; the counts are what is left without them.
// Leaves out: reports in plain text, which are named as a problem; the old and new
// values of attributes, which are in the report.
// Reference: aide.conf(5), aide(1) "EXIT STATUS".
func init() {
	register("aide_diff", "Files that AIDE found changed.", aideOptions{
		Enabled: true, Interval: config.Duration(time.Minute),
		Paths: []string{"/var/log/aide/*.json", "/var/lib/aide/*.json"},
		Exclude: []string{
			"/etc/systemd/system/*.d/**", "/etc/cron.d/**", "/etc/logrotate.d/**", "/etc/sudoers.d/**", "/etc/profile.d/**", "/etc/apt/sources.list.d/**",
			"/etc/letsencrypt/live/**", "/etc/letsencrypt/archive/**", "/etc/ld.so.cache",
		},
	}, newAide)
}

type aideOptions struct {
	Enabled  bool            `yaml:"enabled" doc:"Whether reports are watched."`
	Interval config.Duration `yaml:"interval" doc:"How often the reports are looked for although nothing was heard; at least 10s."`
	Paths    []string        `yaml:"paths" doc:"Reports in JSON; wildcards are allowed."`
	Exclude  []string        `yaml:"exclude" doc:"Paths that may change, as drop-ins do: * stands for a name's part, ** for all below; [] for none."`
	Command  []string        `yaml:"command" doc:"Program that scans and prints a report in JSON, such as [aide, --config, /etc/aide/aide.conf, --check]; empty to run nothing."`
	At       string          `yaml:"at" doc:"When it is run every day, as 04:30 in local time."`
	Every    config.Duration `yaml:"every" doc:"How often it is run in place of at; at least 1m."`
	Timeout  config.Duration `yaml:"timeout" doc:"How long a scan may take; 0 for 6h."`
}

const (
	// maxReport is the largest report, in bytes.
	maxReport = 64 << 20
	// maxAidePaths is how many paths an event holds; all are counted.
	maxAidePaths = 200
	// maxAideText is how long they are together, in bytes; in JSON a byte may take six.
	maxAideText = 64 << 10
	// aideSettle is how long the writing of a report may pause.
	aideSettle = time.Second
)

type aide struct {
	aideOptions
	minute int // of the day, of at; -1 for none
	seen   map[string]string
}

func newAide(o aideOptions) (Source, error) {
	if time.Duration(o.Interval) < 10*time.Second {
		return nil, event.Invalidf("interval: %s is shorter than 10s", o.Interval)
	}
	for _, p := range slices.Concat(o.Paths, o.Exclude) {
		if _, err := path.Match(p, ""); err != nil || !strings.HasPrefix(p, "/") {
			return nil, event.Invalidf("%q is no pattern of absolute paths", p)
		}
	}
	a := &aide{aideOptions: o, minute: -1, seen: map[string]string{}}
	if o.At != "" {
		at, err := time.Parse("15:04", o.At)
		if err != nil {
			return nil, event.Invalidf("at: %q is no time of the day such as 04:30", o.At)
		}
		a.minute = at.Hour()*60 + at.Minute()
	}
	switch {
	case len(o.Command) == 0 && (o.At != "" || o.Every != 0):
		return nil, event.Invalidf("at and every say when command runs, and there is no command")
	case len(o.Command) > 0 && (o.At == "") == (o.Every == 0):
		return nil, event.Invalidf("command: say when it runs, by at or by every")
	case o.Every != 0 && time.Duration(o.Every) < time.Minute:
		return nil, event.Invalidf("every: %s is shorter than 1m", o.Every)
	case o.Timeout < 0:
		return nil, event.Invalidf("timeout: %s is less than nothing", o.Timeout)
	}
	a.Timeout = cmp.Or(a.Timeout, config.Duration(6*time.Hour))
	return a, nil
}

// Run implements Source.
func (a *aide) Run(ctx context.Context, env *Env) error {
	files := func(ctx context.Context) error { return a.files(ctx, env) }
	if len(a.Command) == 0 {
		return files(ctx)
	}
	return inParallel(ctx, files, func(ctx context.Context) error { return a.scans(ctx, env) })
}

// files reads reports as they are written.
func (a *aide) files(ctx context.Context, env *Env) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		env.Problem(err) // the interval remains
		return every(ctx, time.Duration(a.Interval), func(ctx context.Context, now time.Time) error { return a.look(ctx, env, now) })
	}
	defer func() { _ = w.Close() }()
	tick := time.NewTicker(time.Duration(a.Interval))
	defer tick.Stop()
	for {
		for _, p := range a.Paths {
			folders, err := filepath.Glob(filepath.Dir(p))
			if err != nil {
				return err // checked by newAide
			}
			for _, d := range folders {
				if !slices.Contains(w.WatchList(), d) {
					_ = w.Add(d) // without it, the interval remains
				}
			}
		}
		if err := a.look(ctx, env, time.Now()); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-w.Errors: //nolint:errcheck // changes were lost: we look now anyway
		case <-w.Events:
			settled(ctx, w, aideSettle)
		}
	}
}

// look reads every report that has changed since the last look.
func (a *aide) look(ctx context.Context, env *Env, now time.Time) error {
	found, denied := 0, ""
	var problems []error
	for _, p := range a.Paths {
		reports, err := filepath.Glob(p)
		if err != nil {
			return err
		}
		for _, r := range reports {
			err := a.report(ctx, env, r, now)
			switch {
			case errors.Is(err, fs.ErrPermission):
				denied = r
				continue
			case errors.Is(err, errUnfinished):
			case errors.Is(err, event.ErrInvalid):
				problems = append(problems, fmt.Errorf("%s: %w", r, err))
			case err != nil:
				return err
			}
			found++
		}
	}
	switch {
	case denied != "":
		env.Status(Unavailable, "no permission to read "+denied+": give the server's user read access, for example by setfacl -m u:tocsin:r")
	case found == 0 && len(a.Command) == 0:
		env.Status(Idle, "no reports found: have aide write one with report_format=json and report_url=file:/var/log/aide/aide.json, or name sources.aide_diff.paths or command")
	default:
		env.Status(Running, "")
	}
	if len(problems) > 0 || len(a.Command) == 0 {
		env.Problem(errors.Join(problems...))
	}
	return nil
}

// errUnfinished says that a report is still being written.
var errUnfinished = errors.New("the report is not finished")

// report reads the report in a file, if it is new.
func (a *aide) report(ctx context.Context, env *Env, file string, now time.Time) error {
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() {
		if errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil // removed since
	}
	mark := markOf(info)
	if a.seen[file] == mark {
		return nil
	}
	content, err := readSmall(file, maxReport)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return err
		}
		return event.Invalidf("%w", err)
	}
	err = a.judge(ctx, env, content, file, nil)
	if errors.Is(err, event.ErrInvalid) && now.Sub(info.ModTime()).Abs() < 10*time.Second {
		return errUnfinished // the rest may come
	}
	if (err == nil || errors.Is(err, event.ErrInvalid)) && len(a.seen) < 10000 {
		a.seen[file] = mark
	}
	return err
}

// aideReport is what is read of a report.
type aideReport struct {
	Outline string `json:"outline"`
	Start   string `json:"start_time"`
	Version string `json:"aide_version"`
	Number  struct {
		Total int `json:"total"`
	} `json:"number_of_entries"`
	Added   map[string]string                     `json:"added"`
	Removed map[string]string                     `json:"removed"`
	Changed map[string]string                     `json:"changed"`
	Details map[string]map[string]json.RawMessage `json:"details"`
}

// aidePath is one path of an event.
type aidePath struct {
	Path       string `json:"path"`
	Change     string `json:"change"`
	Attributes string `json:"attributes"`
}

// judge tells of a report that shows a difference, unless it was told before.
func (a *aide) judge(ctx context.Context, env *Env, content []byte, file string, code *int) error {
	r, err := readReport(content)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	hash := hex.EncodeToString(sum[:16])
	key := "report." + cmp.Or(file, "command")
	told, err := env.Memory.Load(ctx, key)
	if err != nil || told == hash {
		return err
	}
	paths, count, excluded := a.paths(r)
	if len(paths) > 0 {
		shown := clipPaths(paths)
		data := map[string]any{
			"added": count["added"], "removed": count["removed"], "changed": count["changed"], "excluded": excluded,
			"paths": shown, "more": len(paths) - len(shown), "report": cmp.Or(file, strings.Join(a.Command, " ")),
		}
		if r.Number.Total > 0 {
			data["entries"] = r.Number.Total
		}
		if code != nil {
			data["exit_status"] = *code
		}
		one := finding{producer: "aide", t: "aide_diff", severity: event.Warn, subject: "host/" + env.Host, id: madeID("aide_diff", env.Host, file, hash), data: data}
		if at, err := time.Parse("2006-01-02 15:04:05 -0700", r.Start); err == nil {
			one.at = at
		}
		if err := tell(ctx, env, one); err != nil {
			return err
		}
	}
	return env.Memory.Store(ctx, key, hash)
}

// clipPaths are the first paths, as many as an event has room for: with long names, one
// would be too large for the server to which it is forwarded.
func clipPaths(paths []aidePath) []aidePath {
	size := 0
	for i := range paths {
		size += len(paths[i].Path) + len(paths[i].Attributes)
		if i == maxAidePaths || i > 0 && size > maxAideText {
			return paths[:i]
		}
	}
	return paths
}

// readReport reads a report in JSON. Errors are of class event.ErrInvalid.
func readReport(content []byte) (*aideReport, error) {
	content = bytes.TrimSpace(content)
	switch {
	case len(content) == 0:
		return nil, event.Invalidf("the report is empty")
	case content[0] != '{':
		return nil, event.Invalidf("the report is not in JSON: set report_format=json before the report_url lines of aide.conf")
	}
	d := json.NewDecoder(bytes.NewReader(content))
	var r *aideReport
	for d.More() { // a file that is appended to holds several: the last one counts
		r = &aideReport{}
		if err := d.Decode(r); err != nil {
			return nil, event.Invalidf("the report can't be read: %w", err)
		}
	}
	if r.Outline == "" && r.Start == "" && r.Version == "" {
		return nil, event.Invalidf("this is no report of AIDE")
	}
	return r, nil
}

// paths are the differences outside the excluded paths, with their counts.
func (a *aide) paths(r *aideReport) (paths []aidePath, count map[string]int, excluded int) {
	count = map[string]int{}
	for _, part := range []struct {
		change string
		all    map[string]string
	}{{"changed", r.Changed}, {"added", r.Added}, {"removed", r.Removed}} {
		for _, p := range slices.Sorted(maps.Keys(part.all)) {
			if a.excluded(p) {
				excluded++
				continue
			}
			count[part.change]++
			attributes := strings.TrimSpace(part.all[p])
			if d := slices.Sorted(maps.Keys(r.Details[p])); part.change == "changed" && len(d) > 0 {
				attributes = strings.Join(d, " ") // words, in place of AIDE's letters
			}
			paths = append(paths, aidePath{shorten(p, 4096), part.change, attributes})
		}
	}
	return paths, count, excluded
}

func (a *aide) excluded(p string) bool {
	return slices.ContainsFunc(a.Exclude, func(pattern string) bool { return globPath(pattern, p) })
}

// globPath matches a path: * within a name, and ** as the last name for whatever
// is below.
func globPath(pattern, p string) bool {
	if above, below := strings.CutSuffix(pattern, "/**"); below {
		names := strings.Count(above, "/")
		parts := strings.Split(p, "/")
		if len(parts) <= names+1 {
			return false
		}
		pattern, p = above, strings.Join(parts[:names+1], "/")
	}
	ok, err := path.Match(pattern, p)
	return err == nil && ok
}

// scans runs the operator's program when it is due.
func (a *aide) scans(ctx context.Context, env *Env) error {
	for {
		last := time.Time{}
		if err := recall(ctx, env, "scanned", &last); err != nil {
			return err
		}
		// At most an hour at once, so that a clock that jumps is noticed.
		if due := a.due(last, time.Now()); due > 0 {
			wait := time.NewTimer(min(due, time.Hour))
			select {
			case <-wait.C:
				continue
			case <-ctx.Done():
				wait.Stop()
				return nil
			}
		}
		if err := remember(ctx, env, "scanned", time.Now()); err != nil { // also one that is broken off: a scan is heavy
			return err
		}
		if err := a.scan(ctx, env); err == nil || errors.Is(err, event.ErrInvalid) {
			env.Problem(err)
		} else if ctx.Err() == nil {
			return err
		}
	}
}

// due is how long it is until the next scan; a clock that was set back brings it
// no later than a day.
func (a *aide) due(last, now time.Time) time.Duration {
	if a.Every != 0 {
		return min(time.Duration(a.Every), time.Duration(a.Every)-now.Sub(last))
	}
	at := time.Date(now.Year(), now.Month(), now.Day(), a.minute/60, a.minute%60, 0, 0, now.Location())
	if at.After(now) { // not today yet: was yesterday's missed?
		at = time.Date(now.Year(), now.Month(), now.Day()-1, a.minute/60, a.minute%60, 0, 0, now.Location())
	}
	if last.Before(at) && !last.IsZero() {
		return 0
	}
	return time.Date(at.Year(), at.Month(), at.Day()+1, a.minute/60, a.minute%60, 0, 0, now.Location()).Sub(now)
}

// scan runs the program once. AIDE's exit status is 0 for no difference, 1 to 7
// for what differs (1 added, 2 removed, 4 changed), and 14 and above for an error.
func (a *aide) scan(ctx context.Context, env *Env) error {
	limit, cancel := context.WithTimeout(ctx, time.Duration(a.Timeout))
	defer cancel()
	cmd := exec.CommandContext(limit, a.Command[0], a.Command[1:]...) //nolint:gosec // the operator names it
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	out, said := &cappedBuffer{most: maxReport}, &errorText{}
	cmd.Stdout, cmd.Stderr = out, said
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil
	}
	code := cmd.ProcessState.ExitCode() // -1 of one that was not started
	switch {
	case limit.Err() != nil:
		return event.Invalidf("the scan is not done within %s", a.Timeout)
	case code < 0 || code > 7:
		return event.Invalidf("the scan has failed: %w%s", err, said.tail())
	case code == 0 && len(bytes.TrimSpace(out.Bytes())) == 0:
		return nil // no difference, and AIDE was told to say nothing then
	case out.over:
		return event.Invalidf("the report is larger than %d bytes", maxReport)
	}
	return a.judge(ctx, env, out.Bytes(), "", &code)
}

// cappedBuffer is a buffer that does not grow for ever.
type cappedBuffer struct {
	bytes.Buffer
	most int
	over bool
}

func (b *cappedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.most {
		b.over = true
		return len(p), nil
	}
	return b.Buffer.Write(p)
}
