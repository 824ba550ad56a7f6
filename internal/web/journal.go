package web

import (
	"bufio"
	"crypto/ed25519"
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// JournalStats is how much is recorded. Bytes are on disk.
type JournalStats struct {
	Events       int64            `json:"events"`
	First        string           `json:"first"`
	Last         string           `json:"last"`
	Segments     int              `json:"segments"`
	SegmentBytes map[string]int64 `json:"segment_bytes"`
	LogBytes     int64            `json:"log_bytes"`
	Removed      int64            `json:"removed"`
	Oldest       *time.Time       `json:"oldest"`
	Appended     int64            `json:"appended_since_start"`
	Duplicates   int64            `json:"duplicates_since_start"`
	DedupeKeys   int              `json:"dedupe_keys"`
	Refuses      string           `json:"refuses"` // why nothing is accepted; empty when all is well
}

// DiskBytes is what the journal takes on disk.
func (s JournalStats) DiskBytes() int64 {
	total := s.LogBytes
	for _, n := range s.SegmentBytes {
		total += n
	}
	return total
}

// NewJournalStats is what the API and the command line tell of a journal.
func NewJournalStats(s *journal.Stats) JournalStats {
	out := JournalStats{
		Events: s.Events, First: s.First.String(), Last: s.Last.String(), Segments: s.Segments, SegmentBytes: s.SegmentBytes,
		LogBytes: s.LogBytes, Removed: s.Removed, Appended: s.Appended, Duplicates: s.Duplicates, DedupeKeys: s.DedupeKeys,
	}
	if !s.Oldest.IsZero() {
		out.Oldest = &s.Oldest
	}
	if s.Refuse != nil {
		out.Refuses = s.Refuse.Error()
	}
	return out
}

// getJournal tells how much is recorded.
func (s *Server) getJournal(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	stats := s.Journal.Stats()
	return writeJSON(w, http.StatusOK, NewJournalStats(&stats))
}

// getHeads returns the signed ends of the hash chains.
func (s *Server) getHeads(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	heads, err := s.Journal.Heads()
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, heads)
}

type verifyRequest struct {
	Against   *journal.Heads    `json:"against"`
	PublicKey ed25519.PublicKey `json:"public_key"`
}

// VerifyReport is what a verification found, as the API and the command line
// tell it.
type VerifyReport struct {
	OK       bool     `json:"ok"`
	Events   int64    `json:"events"`
	Removed  int64    `json:"removed"`
	Lost     int64    `json:"lost"`
	Segments int      `json:"segments"`
	Last     string   `json:"last"`
	Problems []string `json:"problems"`
	Unproven []string `json:"unproven,omitempty"`
}

// NewVerifyReport puts a verification into the form that is told.
func NewVerifyReport(r *journal.Report, err error) VerifyReport {
	out := VerifyReport{
		OK: err == nil, Events: r.Events, Removed: r.Removed, Lost: r.Lost, Segments: r.Segments,
		Last: r.Last.String(), Problems: []string{},
	}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, p.Error())
	}
	if err != nil && len(out.Problems) == 0 {
		out.Problems = append(out.Problems, err.Error())
	}
	for _, c := range r.Unproven {
		out.Unproven = append(out.Unproven, c.String())
	}
	return out
}

// postVerify proves that nothing that was recorded has been changed or removed.
func (s *Server) postVerify(w http.ResponseWriter, r *http.Request) error {
	var in verifyRequest
	if r.ContentLength != 0 {
		if err := readJSON(w, r, &in); err != nil {
			return err
		}
	}
	if in.PublicKey != nil && len(in.PublicKey) != ed25519.PublicKeySize {
		return event.Invalidf("public_key: must be %d bytes in base64", ed25519.PublicKeySize)
	}
	report, err := s.Journal.Verify(r.Context(), journal.VerifyOptions{Against: in.Against, PublicKey: in.PublicKey})
	if err != nil && r.Context().Err() != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, NewVerifyReport(&report, err))
}

// getExport streams every event as NDJSON, in order.
func (s *Server) getExport(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "from", "to")
	var bounds [2]event.Seq
	for i, name := range []string{"from", "to"} {
		if text := q.text(name); text != "" {
			seq, err := event.ParseSeq(text)
			if err != nil {
				q.fail("query: %s: %v", name, err)
			}
			bounds[i] = seq
		}
	}
	if q.err != nil {
		return q.err
	}
	w.Header().Set("Content-Type", ndjsonMedia)
	out := bufio.NewWriterSize(w, 64<<10)
	var line []byte
	err := s.Journal.Export(r.Context(), bounds[0], bounds[1], func(h segment.Hit) error {
		line = append(event.InsertRecorded(line[:0], h.Body, h.Seq, time.Unix(0, h.Recorded)), '\n')
		_, err := out.Write(line)
		return err
	})
	if err != nil {
		// The stream has begun: breaking it off is the only honest answer left.
		s.Log.ErrorContext(r.Context(), "export broke off", "err", err)
		panic(http.ErrAbortHandler)
	}
	return out.Flush()
}

// postImport takes events as they were exported; they get new sequences, and
// those that are there already are duplicates.
func (s *Server) postImport(w http.ResponseWriter, r *http.Request) error {
	if err := s.Ready(); err != nil {
		return err
	}
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	from := ingest.Sender{Name: callerOf(r).principal.Name, Trusted: true, Own: true}
	total := struct {
		Accepted   int      `json:"accepted"`
		Duplicates int      `json:"duplicates"`
		Rejected   int      `json:"rejected"`
		Errors     []string `json:"errors"`
	}{Errors: []string{}}
	err := s.Limits().ReadLines(r.Body, func(_ int, group []ingest.Incoming) error {
		a, err := s.Ingest.Accept(r.Context(), from, group)
		total.Accepted += a.Accepted
		total.Duplicates += a.Duplicates
		total.Rejected += a.Rejected
		for _, res := range a.Results {
			if res.Err != nil && len(total.Errors) < 100 {
				total.Errors = append(total.Errors, res.Err.Error())
			}
		}
		return err
	})
	if err != nil {
		return lineError(err)
	}
	return writeJSON(w, http.StatusOK, total)
}
