package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/backup"
	"github.com/tocsin-events/tocsin/internal/event"
)

func init() { register(newRun) }

type run struct{ name, kind string }

func newRun(c *cli) *cobra.Command {
	var r run
	cmd := &cobra.Command{
		Use:   "run --name NAME [--kind backup|cron] -- COMMAND …",
		Short: "Run a command and record how it ended",
		Long:  "Run a command, record how it ended, and end with its exit code. A backup is\nrecorded in both cases, with bytes, files and snapshot where restic or borg tell\nthem; a cron job only when it fails. While no server can be reached, the event\nwaits on disk and is sent by the next run or emit, or when the server starts.",
		Example: "  tocsin run --name nightly --kind backup -- restic backup --json /home\n" +
			"  tocsin run --name logrotate --kind cron -- /usr/sbin/logrotate /etc/logrotate.conf",
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error { return r.run(cmd.Context(), c, list) },
	}
	f := cmd.Flags()
	f.StringVar(&r.name, "name", "", "name of the job (needed)")
	f.StringVar(&r.kind, "kind", "", "backup or cron (default: backup for restic and borg, else cron)")
	f.SetInterspersed(false)
	return cmd
}

// ended is how a command ended.
type ended struct {
	status   int
	result   string // exit-code, signal, or why it could not be started
	duration time.Duration
	stdout   *lastBytes
	stderr   *lastBytes
}

func (r *run) run(ctx context.Context, c *cli, argv []string) error {
	tool := filepath.Base(argv[0])
	switch {
	case r.name == "":
		return event.Invalidf("--name is missing: give the job a name that stays the same")
	case r.kind == "" && (tool == "restic" || tool == "borg"):
		r.kind = "backup"
	case r.kind == "":
		r.kind = "cron"
	case r.kind != "backup" && r.kind != "cron":
		return event.Invalidf("--kind %s: use backup or cron", r.kind)
	}
	end := c.execute(argv)
	if e := r.event(tool, end); e != nil {
		c.deliver(ctx, e)
	}
	if end.status != 0 {
		return exitCode(end.status)
	}
	return nil
}

// execute runs a command with this program's input and output, and passes
// signals on to it.
func (c *cli) execute(argv []string) ended {
	end := ended{stdout: &lastBytes{}, stderr: &lastBytes{}}
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // to run this command is what the user asked for; it must outlive a cancelled context to be waited for
	cmd.Stdin = c.in
	if f, ok := c.in.(*os.File); ok {
		cmd.Stdin = f
	}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(c.out, end.stdout), io.MultiWriter(c.err, end.stderr)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer func() { signal.Stop(signals); close(signals) }()
	began := time.Now()
	err := cmd.Start()
	if err == nil {
		go func() {
			for s := range signals {
				_ = cmd.Process.Signal(s)
			}
		}()
		err = cmd.Wait()
	}
	end.duration = time.Since(began)
	end.status, end.result = statusOf(err)
	if end.status == 126 || end.status == 127 {
		_, _ = io.WriteString(io.MultiWriter(c.err, end.stderr), "tocsin: "+err.Error()+"\n")
	}
	return end
}

// statusOf is the exit status as a shell gives it: 127 not found, 126 not
// executable, 128 and the signal's number.
func statusOf(err error) (int, string) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, "success"
	case errors.As(err, &exit):
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal()), "signal"
		}
		return exit.ExitCode(), "exit-code"
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return 127, "not-found"
	default:
		return 126, "not-executable"
	}
}

// event is what is recorded; nil where there is nothing to record.
func (r *run) event(tool string, end ended) *event.Event {
	data := map[string]any{
		"name": r.name, "exit_status": end.status, "duration_ms": end.duration.Milliseconds(), "output": end.stderr.text() + end.stdout.text(),
	}
	var t event.Type
	var severity event.Severity // 0 is the type's own
	switch {
	case r.kind == "cron" && end.status == 0:
		return nil
	case r.kind == "cron":
		t = "cron_failed"
		data["result"] = end.result
		if u := os.Getenv("USER"); u != "" {
			data["user"] = u
		}
	default:
		data["tool"] = tool
		report := backup.Read(tool, end.stdout.all(), end.stderr.all())
		report.Into(data)
		t = "backup_succeeded"
		switch {
		case !report.Succeeded(tool, end.status):
			t = "backup_failed"
			data["error"] = cmp.Or(report.Fault, end.result)
		case len(report.Warnings) > 0 && end.status != 0:
			severity = event.Warn
		}
	}
	body, err := json.Marshal(data)
	if err != nil {
		return nil // text and numbers always marshal
	}
	e, err := newHostEvent(t, body)
	if err != nil {
		return nil
	}
	e.Severity = severity
	e.Subject = r.kind + "/" + subjectSafe(r.name)
	return &e
}

// subjectSafe keeps an attribute legal whatever a job is called.
func subjectSafe(name string) string { return strings.Join(strings.Fields(printable(name)), "-") }

// readBytes is how much of a command's output is looked at, from its end, and
// keepBytes how much is recorded.
const (
	readBytes = 64 << 10
	keepBytes = 4096
)

// lastBytes keeps the end of what is written to it.
type lastBytes struct{ kept []byte }

func (l *lastBytes) Write(p []byte) (int, error) {
	l.kept = append(l.kept, p...)
	if len(l.kept) > 4*readBytes {
		l.kept = append(l.kept[:0], l.kept[len(l.kept)-readBytes:]...)
	}
	return len(p), nil
}

func (l *lastBytes) all() string { return l.end(readBytes) }

func (l *lastBytes) text() string { return l.end(keepBytes) }

func (l *lastBytes) end(n int) string {
	return strings.ToValidUTF8(string(l.kept[max(len(l.kept)-n, 0):]), "\uFFFD")
}
