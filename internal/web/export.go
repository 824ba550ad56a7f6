package web

import (
	"bufio"
	"encoding/csv"
	"net/http"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// Pace of exports: what is read at once, and how long a client may take for it.
const (
	exportBatch = 1000
	exportBytes = 8 << 20
	exportWrite = time.Minute
)

// getSearchExport streams every event that matches, oldest first, as NDJSON or
// CSV.
func (s *Server) getSearchExport(w http.ResponseWriter, r *http.Request) error {
	return s.exportAs(w, r, readQuery(r, "filter", "since", "until", "format", "transient"), "filter")
}

// getExportPage does the same for the search of a page.
func (s *Server) getExportPage(w http.ResponseWriter, r *http.Request) error {
	return s.exportAs(w, r, readQuery(r, "q", "since", "until", "by", "format"), "q")
}

// exporter writes events in one format.
type exporter interface {
	add(h *segment.Hit) error
	flush() error
}

func (s *Server) exportAs(w http.ResponseWriter, r *http.Request, q *query, name string) error {
	source := q.text(name)
	if name == "q" {
		source = filter.FromSearchBox(source)
	}
	query := s.compileText(q, source)
	q.bounds(&query, time.Now(), time.Time{})
	query.Ascending, query.Limit, query.MaxBytes = true, exportBatch, exportBytes
	out := bufio.NewWriterSize(w, 64<<10)
	var e exporter
	media, suffix := ndjsonMedia, "ndjson"
	switch q.text("format") {
	case "", "ndjson":
		e = &ndjsonExport{out: out}
	case "csv":
		media, suffix = "text/csv; charset=utf-8; header=present", "csv"
		e = &csvExport{csv: csv.NewWriter(out), message: s.Catalog.Message}
	default:
		q.fail("query: format must be ndjson or csv")
	}
	if q.err != nil {
		return q.err
	}
	head := w.Header()
	head.Set("Content-Type", media)
	head.Set("Content-Disposition", `attachment; filename="tocsin-`+time.Now().UTC().Format("20060102-150405")+"."+suffix+`"`)
	if err := s.export(r, query, e, out, http.NewResponseController(w)); err != nil {
		// The stream has begun: breaking it off is the only honest answer left.
		s.Log.ErrorContext(r.Context(), "export broke off", "err", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// export goes through the pages of a search up to what was last when it began.
func (s *Server) export(r *http.Request, query segment.Query, e exporter, out *bufio.Writer, control *http.ResponseController) error {
	query.Below = s.Journal.Last() + 1
	for {
		_ = control.SetWriteDeadline(time.Now().Add(exportWrite)) // unsupported only in tests without a connection
		page, err := s.Journal.Search(r.Context(), &query)
		if err != nil {
			return err
		}
		for i := range page.Hits {
			if err := e.add(&page.Hits[i]); err != nil {
				return err
			}
		}
		if err := e.flush(); err != nil {
			return err
		}
		if page.Next == 0 {
			return out.Flush()
		}
		query.Above = page.Next
	}
}

type ndjsonExport struct {
	out  *bufio.Writer
	line []byte
}

func (e *ndjsonExport) add(h *segment.Hit) error {
	e.line = append(event.InsertRecorded(e.line[:0], h.Body, h.Seq, time.Unix(0, h.Recorded)), '\n')
	_, err := e.out.Write(e.line)
	return err
}

func (e *ndjsonExport) flush() error { return nil }

// csvExport writes RFC 4180. Excel and its like take a cell that begins with
// certain characters for a formula, so those get an apostrophe in front (OWASP,
// CSV injection).
type csvExport struct {
	csv     *csv.Writer
	message func(*event.Event) string
	begun   bool
}

func csvColumns() []string {
	return []string{"sequence", "time", "severitytext", "type", "kind", "subject", "source", "host", "actor", "clientip", "id"}
}

func (e *csvExport) add(h *segment.Hit) error {
	if err := e.begin(); err != nil {
		return err
	}
	full, err := event.Decode(event.InsertRecorded(nil, h.Body, h.Seq, time.Unix(0, h.Recorded)))
	if err != nil {
		return err
	}
	var row []string
	for _, name := range csvColumns() {
		row = append(row, harmlessCell(full.Text(name)))
	}
	return e.csv.Write(append(row, harmlessCell(e.message(&full)), harmlessCell(string(full.Data))))
}

func (e *csvExport) begin() error {
	if e.begun {
		return nil
	}
	e.begun = true
	return e.csv.Write(append(csvColumns(), "message", "data"))
}

func (e *csvExport) flush() error {
	if err := e.begin(); err != nil { // the head also where nothing matches
		return err
	}
	e.csv.Flush()
	return e.csv.Error()
}

func harmlessCell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return "'" + text
	}
	return text
}
