package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/journal"
)

// OpenOnly opens a journal, says so, and holds it open until in ends. It is what
// a process of its own runs, so that its memory can be measured.
func OpenOnly(ctx context.Context, dir string, in io.Reader, out io.Writer) error {
	began := time.Now()
	j, err := journal.Open(ctx, journal.Options{Dir: dir})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "open in %d ms\n", time.Since(began).Milliseconds())
	if err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	return errors.Join(err, j.Close())
}

// settle is how long a process is left alone before it is measured: its heap
// shrinks in the background.
const settle = 5 * time.Second

// opened measures a process that has opened the large journal.
func (b *bench) opened(ctx context.Context, dir string) error {
	b.o.Say("memory: open the large journal in a process of its own")
	said, m, err := b.child(ctx, "", "bench", "open", dir)
	if err != nil {
		return err
	}
	b.memoryRow(fmt.Sprintf("memory after opening %s events", figure(float64(b.s.large))), m, 250)
	b.report.note("Opening %s events: %s.", figure(float64(b.s.large)), said)
	return nil
}

// idle measures a fresh server that nobody uses.
func (b *bench) idle(ctx context.Context) error {
	b.o.Say("memory: an idle server")
	dir, err := b.folder("idle")
	if err != nil {
		return err
	}
	_, m, err := b.child(ctx, "TOCSIN_ADMIN_PASSWORD=correct horse battery staple", "serve", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.memoryRow("memory of a fresh, idle server", m, 60)
	return nil
}

func (b *bench) memoryRow(what string, m memory, limit float64) {
	b.report.add(Row{
		Section: "Disk and memory", What: what, Ours: m.total - m.file, Theirs: limit, Unit: "MB",
		Against: "the limit", Sense: AtMost, Goal: 1,
	})
	b.report.note("%s: resident %.1f MB, of which %.1f MB are pages of files (the program, mapped segments), which the system takes back when it needs them.", what, m.total, m.file)
}

// memory is what /proc says of a process, in MB (10⁶ bytes).
type memory struct{ total, file float64 }

// child starts the program, waits for its first line, lets it settle, measures
// it and ends it.
func (b *bench) child(ctx context.Context, environ string, args ...string) (said string, m memory, err error) {
	cmd := exec.CommandContext(ctx, b.o.Program, args...) //nolint:gosec // the program itself
	cmd.Env = append(os.Environ(), environ)
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", m, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", m, err
	}
	if err := cmd.Start(); err != nil {
		return "", m, err
	}
	said, err = bufio.NewReader(out).ReadString('\n')
	if err == nil {
		wait := settle
		if b.o.Quick {
			wait = settle / 10
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		m, err = memoryOf(cmd.Process.Pid)
	}
	err = errors.Join(err, in.Close(), cmd.Process.Signal(os.Interrupt))
	_ = cmd.Wait() // it was told to end; how does not matter
	return strings.TrimSpace(said), m, err
}

// memoryOf reads proc_pid_status(5).
func memoryOf(pid int) (m memory, err error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return m, fmt.Errorf("memory can only be measured where /proc is: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		switch {
		case name == "VmRSS" && err == nil:
			m.total = kb * 1024 / 1e6
		case name == "RssFile" && err == nil:
			m.file = kb * 1024 / 1e6
		}
	}
	return m, nil
}
