package cli

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
	"github.com/tocsin-events/tocsin/internal/web"
)

func init() { register(newJournal) }

func newJournal(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "journal", Short: "Verify, export, import and measure the journal",
		Example: "  tocsin journal verify\n  tocsin journal heads > heads.json\n  tocsin journal verify --against heads.json\n  tocsin journal export > events.ndjson",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newVerify(c), newStats(c), newHeads(c), newExport(c), newImport(c))
	return cmd
}

// journalDir is the journal of a stopped server's data folder.
func (c *cli) journalDir() (string, error) {
	dir := filepath.Join(c.data, "journal")
	if _, err := os.Stat(dir); err != nil {
		return "", event.NotFoundf("there is no journal in %s, and no server answers; name the data folder with --data", c.data)
	}
	return dir, nil
}

// stoppedHere reports that an error of a call means that no server runs, so
// that the folder itself may be looked at.
func (c *cli) stoppedHere(err error) bool {
	return errors.Is(err, event.ErrUnavailable) && c.env("TOCSIN_URL") == ""
}

func newVerify(c *cli) *cobra.Command {
	var against, key string
	cmd := &cobra.Command{
		Use: "verify", Short: "Prove that nothing was altered or removed",
		Long:    "Read the whole journal and check every checksum, the hash chains and that no\nsequence is missing. Works on a running server, and on a stopped one's folder.\nEnds with 1, naming file and sequence, where something is wrong.",
		Example: "  tocsin journal verify\n  tocsin journal verify --data /var/lib/tocsin --against heads.json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := verifyOptions(against, key)
			if err != nil {
				return err
			}
			report, err := c.verify(cmd.Context(), o)
			if err != nil {
				return err
			}
			return c.printVerify(report)
		},
	}
	cmd.Flags().StringVar(&against, "against", "", "heads that were exported earlier; the chains must pass through them")
	cmd.Flags().StringVar(&key, "public-key", "", "key that the heads must be signed with, in base64 (default: the journal's own)")
	return cmd
}

func verifyOptions(against, key string) (journal.VerifyOptions, error) {
	var o journal.VerifyOptions
	if key != "" {
		raw, err := base64.StdEncoding.DecodeString(key)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return o, event.Invalidf("--public-key: not %d bytes in base64", ed25519.PublicKeySize)
		}
		o.PublicKey = raw
	}
	if against == "" {
		return o, nil
	}
	raw, err := os.ReadFile(against)
	if err != nil {
		return o, event.NotFoundf("--against: %w", err)
	}
	o.Against = &journal.Heads{}
	if err := json.Unmarshal(raw, o.Against); err != nil {
		return o, event.Invalidf("--against %s: %w", against, err)
	}
	return o, nil
}

func (c *cli) verify(ctx context.Context, o journal.VerifyOptions) (web.VerifyReport, error) {
	var report web.VerifyReport
	k, err := c.client()
	if err != nil {
		return report, err
	}
	body := map[string]any{"against": o.Against, "public_key": o.PublicKey}
	err = k.call(ctx, http.MethodPost, "/v1/journal/verify", body, &report)
	if err == nil || !c.stoppedHere(err) {
		return report, err
	}
	dir, err := c.journalDir()
	if err != nil {
		return report, err
	}
	found, err := journal.VerifyDir(ctx, vfs.OS{}, dir, o)
	return web.NewVerifyReport(&found, err), nil // what err says is in the report
}

func (c *cli) printVerify(r web.VerifyReport) error {
	if c.json() {
		if err := c.printJSON(r); err != nil {
			return err
		}
	} else {
		for _, p := range r.Problems {
			_, _ = fmt.Fprintln(c.err, "tocsin: "+p)
		}
		for _, u := range r.Unproven {
			_, _ = fmt.Fprintf(c.err, "tocsin: nothing can be said about the class %s: its head lies within what was removed\n", u)
		}
		if r.OK {
			_, _ = fmt.Fprintf(c.out, "whole: %d events in %d segments, %d removed by retention, up to sequence %s\n", r.Events, r.Segments, r.Removed, trimSeq(r.Last))
		}
	}
	if !r.OK {
		return exitCode(exitFailed)
	}
	return nil
}

func newStats(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "stats", Short: "Show how much is recorded", Example: "  tocsin journal stats -o json", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			var stats map[string]any
			err = k.call(cmd.Context(), http.MethodGet, "/v1/journal", nil, &stats)
			if err != nil && c.stoppedHere(err) {
				stats, err = c.stoppedStats(cmd.Context())
			}
			if err != nil {
				return err
			}
			if c.json() {
				return c.printJSON(stats)
			}
			rows := [][]string{}
			for _, name := range []string{"events", "first", "last", "segments", "segment_bytes", "log_bytes", "removed", "oldest", "refuses"} {
				rows = append(rows, []string{name, plainValue(stats[name])})
			}
			return c.table([]string{"JOURNAL", ""}, rows)
		},
	}
}

func plainValue(v any) string {
	switch v := v.(type) {
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case nil:
		return "–"
	case map[string]any:
		parts := []string{}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, name+" "+plainValue(v[name]))
		}
		return strings.Join(parts, ", ")
	default:
		return fmt.Sprint(v)
	}
}

// stoppedStats looks at a stopped server's folder.
func (c *cli) stoppedStats(ctx context.Context) (map[string]any, error) {
	dir, err := c.journalDir()
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(ctx, journal.Options{Dir: dir, Window: 1})
	if err != nil {
		return nil, err
	}
	s := j.Stats()
	raw, err := json.Marshal(web.NewJournalStats(&s))
	if err = errors.Join(err, j.Close()); err != nil {
		return nil, err
	}
	var stats map[string]any
	return stats, json.Unmarshal(raw, &stats)
}

func newHeads(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "heads", Short: "Export the signed ends of the hash chains, to be kept elsewhere",
		Example: "  tocsin journal heads > heads.json", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			var heads json.RawMessage
			if err := k.call(cmd.Context(), http.MethodGet, "/v1/journal/heads", nil, &heads); err != nil {
				return err
			}
			return c.printJSON(heads)
		},
	}
}

func newExport(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "export", Short: "Write every event as NDJSON to standard output", Example: "  tocsin journal export > events.ndjson", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			resp, err := k.open(cmd.Context(), http.MethodGet, "/v1/journal/export", "", nil)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if _, err := io.Copy(c.out, resp.Body); err != nil {
				return fmt.Errorf("the export broke off: %w", err)
			}
			return nil
		},
	}
}

func newImport(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "import FILE", Short: "Take events as they were exported; - is standard input", Example: "  tocsin journal import - < events.ndjson", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			in := c.in
			if list[0] != "-" {
				f, err := os.Open(list[0])
				if err != nil {
					return event.NotFoundf("import: %w", err)
				}
				defer f.Close()
				in = f
			}
			return c.importFrom(cmd.Context(), in)
		},
	}
}

func (c *cli) importFrom(ctx context.Context, in io.Reader) error {
	k, err := c.client()
	if err != nil {
		return err
	}
	resp, err := k.open(ctx, http.MethodPost, "/v1/journal/import", "application/x-ndjson", in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var done struct {
		Accepted   int      `json:"accepted"`
		Duplicates int      `json:"duplicates"`
		Rejected   int      `json:"rejected"`
		Errors     []string `json:"errors"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&done); err != nil {
		return fmt.Errorf("answer of the server: %w", err)
	}
	if c.json() {
		if err := c.printJSON(done); err != nil {
			return err
		}
	} else {
		_, _ = fmt.Fprintf(c.out, "%d imported, %d were there already, %d refused\n", done.Accepted, done.Duplicates, done.Rejected)
		for _, e := range done.Errors {
			_, _ = fmt.Fprintln(c.err, "tocsin: "+printable(e))
		}
	}
	if done.Rejected > 0 {
		return exitCode(exitFailed)
	}
	return nil
}
