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
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// queued is a message in Postfix's queue.
type queued struct {
	Sender     string
	Recipients []string
	Size       int64 // bytes
}

const (
	queuePatience = 20 * time.Second
	longestEntry  = 1 << 20 // bytes of one message's entry: some thousand recipients
)

// postqueue asks for some messages. Without postqueue there are none, and no
// error: what the log says is enough.
func (q *quarantine) postqueue(ctx context.Context, ids []string) (map[string]queued, error) {
	if q.Postqueue == "" || len(ids) == 0 {
		return nil, nil
	}
	program, err := exec.LookPath(cmp.Or(q.Postqueue, "postqueue"))
	if errors.Is(err, exec.ErrNotFound) && q.Postqueue == "postqueue" { // services have a short PATH
		program, err = exec.LookPath("/usr/sbin/postqueue")
	}
	if err != nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, queuePatience, errors.New("postqueue takes too long"))
	defer cancel()
	args := []string{"-j"}
	if q.PostfixConfig != "" {
		args = []string{"-c", q.PostfixConfig, "-j"}
	}
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // the operator's own words
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.WaitDelay = time.Second
	var complaint limitedBuffer
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("postqueue: %w", err)
	}
	found, read := readQueue(out, ids)
	if _, err := io.Copy(io.Discard, out); read == nil {
		read = err
	}
	if err := cmd.Wait(); err != nil {
		return found, fmt.Errorf("postqueue: %w: %s", err, plainText(complaint.String(), 256))
	}
	return found, read
}

// readQueue finds messages in what postqueue -j prints, an object a line. What
// can't be read is left out.
func readQueue(in io.Reader, ids []string) (map[string]queued, error) {
	found := map[string]queued{}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), longestEntry)
	for lines.Scan() {
		var m struct {
			ID         string `json:"queue_id"`
			Sender     string `json:"sender"`
			Size       int64  `json:"message_size"`
			Recipients []struct {
				Address string `json:"address"`
			} `json:"recipients"`
		}
		if json.Unmarshal(lines.Bytes(), &m) != nil || !slices.Contains(ids, m.ID) {
			continue
		}
		one := queued{Sender: plainText(m.Sender, 256), Size: m.Size}
		for _, r := range m.Recipients[:min(len(m.Recipients), 1000)] {
			one.Recipients = append(one.Recipients, plainText(r.Address, 256))
		}
		found[m.ID] = one
	}
	if err := lines.Err(); err != nil {
		return found, fmt.Errorf("postqueue: %w", err)
	}
	return found, nil
}

// limitedBuffer keeps the beginning of what is written.
type limitedBuffer struct{ bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	const most = 4 << 10
	_, _ = b.Buffer.Write(p[:min(len(p), max(most-b.Len(), 0))])
	return len(p), nil
}

// fifoMap is a map that forgets its oldest entries.
type fifoMap[V any] struct {
	most  int
	m     map[string]V
	order []string
}

func (b *fifoMap[V]) get(key string) V { return b.m[key] }

func (b *fifoMap[V]) put(key string, v V) {
	if b.m == nil {
		b.m = map[string]V{}
	}
	if _, there := b.m[key]; !there {
		b.order = append(b.order, key)
	}
	b.m[key] = v
	for len(b.order) > b.most {
		delete(b.m, b.order[0])
		b.order = b.order[1:]
	}
}

// idle waits for the end with nothing to do.
func idle(ctx context.Context, env *Env, lacks string) error {
	env.Status(Idle, lacks)
	<-ctx.Done()
	return nil
}

// checkPatterns refuses patterns that no file can match.
func checkPatterns(option string, patterns []string) error {
	for _, p := range patterns {
		if _, err := filepath.Match(p, ""); err != nil || !filepath.IsAbs(p) {
			return event.Invalidf("%s: %q is not an absolute path, with or without wildcards", option, p)
		}
	}
	return nil
}

// mailLogStatus tells whether there are mail logs to read.
func mailLogStatus(env *Env, source string, logs []string, files int, err error) {
	switch {
	case err != nil:
		env.Status(Unavailable, err.Error()+": give the server's user read access (on Debian the group adm)")
	case files == 0:
		env.Status(Unavailable, "there is no "+strings.Join(logs, " and no ")+": set maillog_file in Postfix's main.cf, or let syslog write one, and name it in sources."+source+".logs; or read systemd's journal: sources."+source+".journal")
	default:
		env.Status(Running, "")
	}
}
