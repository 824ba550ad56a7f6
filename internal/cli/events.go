package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
)

func init() { register(newEvents) }

type events struct {
	since, until      string
	limit             int
	follow, transient bool
	view              string
}

func newEvents(c *cli) *cobra.Command {
	var e events
	cmd := &cobra.Command{
		Use:     "events [FILTER]",
		Short:   "Find events, and follow new ones",
		Long:    "Find events with a filter, a CEL expression; a phrase in quotes looks for text.\nThe newest stand last. --follow goes on with new ones as they are recorded.",
		Example: "  tocsin events 'severity >= warn' --since 7d\n  tocsin events '\"disk full\"'\n  tocsin events 'glob(type, \"backup_*\") && host == \"web-17\"' --follow\n  tocsin events volume --by type",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			return e.run(cmd.Context(), c, k, strings.Join(list, " "))
		},
	}
	f := cmd.Flags()
	f.StringVar(&e.since, "since", "", "earliest time, or duration back from now (default 24h)")
	f.StringVar(&e.until, "until", "", "time before which events lie, or duration back from now")
	f.IntVar(&e.limit, "limit", 50, "most events")
	f.BoolVarP(&e.follow, "follow", "f", false, "go on with new events")
	f.BoolVar(&e.transient, "transient", false, "include events that are gone after an hour")
	f.StringVar(&e.view, "view", "", "form of the JSON: cloudevents, audit or significant")
	cmd.AddCommand(newVolume(c))
	return cmd
}

func (e *events) run(ctx context.Context, c *cli, k *client, typed string) error {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("filter", filter.FromSearchBox(typed))
	set("view", e.view)
	if e.transient {
		q.Set("transient", "true")
	}
	tailQuery := q.Encode()
	set("until", e.until)
	q.Set("since", e.since)
	if e.since == "" {
		q.Set("since", "24h")
	}
	found, err := e.search(ctx, k, q)
	if err != nil {
		return err
	}
	slices.Reverse(found)
	p := newPrinter(c, e.view)
	for _, raw := range found {
		p.print(raw)
	}
	if err := p.end(e.follow); err != nil || !e.follow {
		return err
	}
	return follow(ctx, k, tailQuery, lastSequence(found), p)
}

// search reads as many pages as the limit needs.
func (e *events) search(ctx context.Context, k *client, q url.Values) ([]json.RawMessage, error) {
	if e.limit < 0 {
		return nil, event.Invalidf("--limit %d: must not be negative", e.limit)
	}
	var all []json.RawMessage
	for len(all) < e.limit {
		q.Set("limit", strconv.Itoa(min(1000, e.limit-len(all))))
		var page struct {
			Events []json.RawMessage `json:"events"`
			Next   *string           `json:"next"`
		}
		if err := k.call(ctx, http.MethodGet, "/v1/events?"+q.Encode(), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Events...)
		if page.Next == nil {
			break
		}
		q.Set("cursor", *page.Next)
	}
	return all, nil
}

func lastSequence(found []json.RawMessage) string {
	if len(found) == 0 {
		return ""
	}
	var e struct {
		Sequence string `json:"sequence"`
	}
	if json.Unmarshal(found[len(found)-1], &e) != nil {
		return ""
	}
	return e.Sequence
}

// follow prints events as they are recorded. When the connection breaks it goes
// on behind the last event, so that none is missed or doubled.
func follow(ctx context.Context, k *client, query, last string, p *printer) error {
	const pause = time.Second
	for {
		path := "/v1/events/tail?" + query
		if last != "" {
			path += "&after=" + last
		}
		resp, err := k.open(ctx, http.MethodGet, path, "", nil)
		if err != nil && !errors.Is(err, event.ErrUnavailable) {
			return err
		}
		if err == nil {
			lines := bufio.NewReaderSize(resp.Body, 64<<10)
			err = readStream(lines, func(id, data string) {
				if id != "" {
					last = id
				}
				if data != "" {
					p.print(json.RawMessage(data))
				}
			})
			_ = resp.Body.Close()
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the user has seen enough
		}
		p.warn("the connection broke (" + err.Error() + "); trying again")
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// readStream reads server-sent events until the stream ends.
func readStream(r *bufio.Reader, give func(id, data string)) error {
	var id, data string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		switch name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); name {
		case "id":
			id = strings.TrimPrefix(value, " ")
		case "data":
			data += strings.TrimPrefix(value, " ")
		case "":
			give(id, data)
			id, data = "", ""
		}
	}
}

// printer prints events as lines for people, or as JSON.
type printer struct {
	c       *cli
	catalog *catalog.Catalog
	raw     bool
	colour  bool
	printed int
}

func newPrinter(c *cli, view string) *printer {
	return &printer{
		c: c, catalog: catalog.New(), raw: c.json() || view != "" && view != "cloudevents",
		colour: c.isTerminal() && c.env("NO_COLOR") == "",
	}
}

func (p *printer) print(raw json.RawMessage) {
	p.printed++
	if p.raw {
		_, _ = fmt.Fprintf(p.c.out, "%s\n", raw)
		return
	}
	e, err := event.Decode(raw)
	if err != nil {
		p.warn(err.Error())
		return
	}
	_, _ = fmt.Fprintf(p.c.out, "%s  %s  %-22s  %s\n", e.Time.Local().Format("2006-01-02 15:04:05"), p.severity(e.Severity),
		printable(string(e.Type)), printable(p.catalog.Message(&e)))
}

// severity is a word of eight columns, in a colour on a terminal.
func (p *printer) severity(s event.Severity) string {
	word := fmt.Sprintf("%-8s", s)
	if !p.colour {
		return word
	}
	codes := map[event.Severity]string{event.Info: "90", event.Notice: "36", event.Warn: "33", event.Error: "31", event.Critical: "1;37;41"}
	return "\x1b[" + codes[s] + "m" + word + "\x1b[0m"
}

func (p *printer) warn(msg string) { _, _ = fmt.Fprintf(p.c.err, "tocsin: %s\n", printable(msg)) }

func (p *printer) end(following bool) error {
	if p.printed == 0 && !following && !p.raw {
		_, err := fmt.Fprintln(p.c.err, "no events; look further back with --since 30d, or send one: tocsin emit backup_failed name=nightly")
		return err
	}
	return nil
}

func newVolume(c *cli) *cobra.Command {
	var by, step, since, until string
	cmd := &cobra.Command{
		Use:     "volume [FILTER]",
		Short:   "Count events over time",
		Example: "  tocsin events volume --by severity --since 7d --step 1d",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			q := url.Values{"since": {since}, "step": {step}}
			for name, value := range map[string]string{"by": by, "until": until, "filter": filter.FromSearchBox(strings.Join(list, " "))} {
				if value != "" {
					q.Set(name, value)
				}
			}
			var answer volume
			if err := k.call(cmd.Context(), http.MethodGet, "/v1/events/volume?"+q.Encode(), nil, &answer); err != nil {
				return err
			}
			if c.json() {
				return c.printJSON(answer)
			}
			return c.printVolume(&answer)
		},
	}
	f := cmd.Flags()
	f.StringVar(&by, "by", "", "type, severity or kind")
	f.StringVar(&step, "step", "1h", "length of a step")
	f.StringVar(&since, "since", "24h", "earliest time, or duration back from now")
	f.StringVar(&until, "until", "", "time before which events lie, or duration back from now")
	return cmd
}

type volume struct {
	Buckets []struct {
		Time   time.Time        `json:"time"`
		Counts map[string]int64 `json:"counts"`
	} `json:"buckets"`
	Partial bool `json:"partial"`
}

func (c *cli) printVolume(v *volume) error {
	var keys []string
	for _, b := range v.Buckets {
		for key := range b.Counts {
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	header := []string{"TIME"}
	for _, key := range keys {
		if key == "" {
			key = "EVENTS"
		}
		header = append(header, key)
	}
	var rows [][]string
	for _, b := range v.Buckets {
		row := []string{b.Time.Local().Format("2006-01-02 15:04")}
		for _, key := range keys {
			row = append(row, strconv.FormatInt(b.Counts[key], 10))
		}
		rows = append(rows, row)
	}
	return c.table(header, rows)
}
