package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
)

func init() { register(newEmit) }

type emit struct {
	severity, subject, id, source, file, signKey string
}

func newEmit(c *cli) *cobra.Command {
	var e emit
	cmd := &cobra.Command{
		Use:   "emit TYPE [key=text …] [key:=json …] | emit --file FILE",
		Short: "Send events",
		Long:  "Send one event of a type, with data given as key=text or key:=json, or send\nCloudEvents from a file (- is standard input): one JSON object, an array of them,\nor one a line. The command returns when they are durable.",
		Example: "  tocsin emit backup_failed name=nightly exit_status:=3 --severity error\n" +
			"  tocsin emit disk_full path=/home used_percent:=97.5\n  tocsin emit --file events.ndjson",
		Args: args(func(_ *cobra.Command, list []string) error {
			if (e.file == "") == (len(list) == 0) {
				return errors.New("give a type, or --file")
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.emitClient(e.signKey)
			if err != nil {
				return err
			}
			c.sendSpool(cmd.Context(), k)
			media, body, err := e.body(c, list)
			if err != nil {
				return err
			}
			answer, err := k.send(cmd.Context(), media, body)
			if err != nil {
				return err
			}
			return c.printSent(answer)
		},
	}
	f := cmd.Flags()
	f.StringVar(&e.signKey, "sign-key", "", "SSH key to sign the request with, instead of a token; needs TOCSIN_URL")
	f.StringVar(&e.severity, "severity", "", "info, notice, warn, error or critical (default: the type's)")
	f.StringVar(&e.subject, "subject", "", "the affected thing, such as server/7")
	f.StringVar(&e.id, "id", "", "id of the event; the same id and source are recorded once (default: a new one)")
	f.StringVar(&e.source, "source", "", "source of the event (default: urn:host: and this host's name)")
	f.StringVar(&e.file, "file", "", "file of CloudEvents; - is standard input")
	return cmd
}

func (e *emit) body(c *cli, list []string) (media string, body io.Reader, err error) {
	if e.file != "" {
		return c.fileBody(e.file)
	}
	data, err := parseData(list[1:])
	if err != nil {
		return "", nil, err
	}
	made, err := newHostEvent(event.Type(list[0]), data)
	if err != nil {
		return "", nil, err
	}
	made.Subject = e.subject
	if e.id != "" {
		made.ID = event.ID(e.id)
	}
	if e.source != "" {
		made.Source = e.source
	}
	if e.severity != "" {
		if made.Severity, err = event.ParseSeverity(e.severity); err != nil {
			return "", nil, err
		}
	}
	if err := made.Validate(); err != nil {
		return "", nil, err
	}
	return event.JSONMedia, bytes.NewReader(made.AppendJSON(nil)), nil
}

// newHostEvent makes an event of this host.
func newHostEvent(t event.Type, data []byte) (event.Event, error) {
	host, err := os.Hostname()
	if err != nil {
		return event.Event{}, fmt.Errorf("host name: %w", err)
	}
	return event.Event{
		ID: event.NewID(), Source: "urn:host:" + host, Type: t, Time: time.Now().UTC(),
		DataContentType: "application/json", Host: host, Data: data,
	}, nil
}

// parseData reads key=text and key:=json.
func parseData(pairs []string) ([]byte, error) {
	data := map[string]json.RawMessage{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" || key == ":" {
			return nil, event.Invalidf("%q is neither key=text nor key:=json", pair)
		}
		name, isJSON := strings.CutSuffix(key, ":")
		if _, twice := data[name]; twice {
			return nil, event.Invalidf("the key %q is there twice", name)
		}
		if !isJSON {
			data[name] = scan.AppendString(nil, value)
			continue
		}
		if err := scan.Valid([]byte(value)); err != nil {
			return nil, event.Invalidf("%s: %q is not JSON: %w", name, value, err)
		}
		data[name] = json.RawMessage(value)
	}
	return json.Marshal(data)
}

// fileBody opens a file of events and tells its form by its first character: an
// array is a batch, everything else is one object or one a line.
func (c *cli) fileBody(path string) (media string, body io.Reader, err error) {
	in := c.in
	if path != "-" {
		content, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return "", nil, event.NotFoundf("there is no file %s", path)
		}
		if err != nil {
			return "", nil, fmt.Errorf("events: %w", err)
		}
		in = bytes.NewReader(content)
	}
	content, err := io.ReadAll(in)
	if err != nil {
		return "", nil, fmt.Errorf("events: %w", err)
	}
	trimmed := bytes.TrimLeft(content, " \t\r\n")
	switch {
	case bytes.HasPrefix(trimmed, []byte("[")):
		media = event.BatchMedia
	case scan.Valid(trimmed) == nil:
		media = event.JSONMedia // one object, perhaps over many lines
	default:
		media = "application/x-ndjson"
	}
	return media, bytes.NewReader(content), nil
}

// printSent tells what became of events; a refused one fails the command.
func (c *cli) printSent(answer sent) error {
	if c.json() {
		if err := c.printJSON(answer); err != nil {
			return err
		}
	} else {
		for _, r := range answer.Results {
			switch {
			case r.Error != "":
				_, _ = fmt.Fprintf(c.err, "tocsin: event %d: %s\n", r.Index, printable(r.Error))
			case r.Duplicate:
				_, _ = fmt.Fprintf(c.out, "duplicate of %s  %s\n", trimSeq(r.Sequence), printable(r.ID))
			default:
				_, _ = fmt.Fprintf(c.out, "recorded %s  %s\n", trimSeq(r.Sequence), printable(r.ID))
			}
		}
	}
	if answer.Rejected > 0 {
		return exitCode(exitUsage)
	}
	return nil
}

func trimSeq(s string) string {
	if t := strings.TrimLeft(s, "0"); t != "" {
		return t
	}
	return "0"
}
