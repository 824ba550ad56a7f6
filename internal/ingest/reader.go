package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// Limits are the sizes that a sender must keep to, in bytes.
type Limits struct{ Event, Batch int64 }

// DecodeOne reads one event in the CloudEvents JSON format.
func (l Limits) DecodeOne(body []byte) Incoming {
	if int64(len(body)) > l.Event {
		return Incoming{Err: tooLarge(int64(len(body)), l.Event)}
	}
	e, err := event.Decode(body)
	return Incoming{Event: e, Err: err}
}

func tooLarge(size, limit int64) error {
	return &refusal{"too_large", event.Invalidf("the event has %d bytes; at most %d are accepted (ingest.max_event)", size, limit)}
}

// DecodeBatch reads a JSON array of events (CloudEvents JSON format, 4). An
// element that is JSON and no good event is answered by itself. Text that is no
// JSON is an error for the batch, unless it comes behind good elements: then
// those are kept, and the rest of the text is one bad element.
func (l Limits) DecodeBatch(body []byte) ([]Incoming, error) {
	if in, ok := l.decodeGood(body); ok {
		return in, nil
	}
	var sc scan.Scanner
	sc.Reset(body)
	kind, err := sc.Next()
	if err != nil {
		return nil, event.Invalidf("%w", err)
	}
	if kind != scan.ArrayStart {
		return nil, event.Invalidf("a batch must be a JSON array of events")
	}
	var in []Incoming
	for {
		kind, err := sc.Next()
		if err == nil && kind == scan.ArrayEnd {
			if _, err = sc.Next(); err == nil {
				return in, nil
			}
		}
		var raw []byte
		if err == nil {
			raw, err = sc.Skip()
		}
		if err != nil {
			if len(in) == 0 {
				return nil, event.Invalidf("%w", err)
			}
			return append(in, Incoming{Err: event.Invalidf("the batch ends here: %w", err)}), nil
		}
		in = append(in, l.DecodeOne(raw))
	}
}

// decodeGood reads a batch in which every event is good, and each byte once. For
// any other it is false: then somebody has to find out what is wrong, and where.
func (l Limits) decodeGood(body []byte) ([]Incoming, bool) {
	const space = " \t\n\r"
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(body, space), []byte("["))
	if !ok {
		return nil, false
	}
	var in []Incoming
	for {
		rest = bytes.TrimLeft(rest, space)
		n := scan.Extent(rest)
		if n == 0 || int64(n) > l.Event {
			return nil, false
		}
		e, err := event.Decode(rest[:n])
		if err != nil {
			return nil, false
		}
		if in == nil { // events of one batch are mostly of one size
			in = make([]Incoming, 0, min(len(body)/n+1, 1024))
		}
		in = append(in, Incoming{Event: e})
		rest = bytes.TrimLeft(rest[n:], space)
		switch {
		case len(rest) > 0 && rest[0] == ',':
			rest = rest[1:]
		case len(rest) > 0 && rest[0] == ']':
			return in, len(bytes.TrimLeft(rest[1:], space)) == 0
		default:
			return nil, false
		}
	}
}

// ReadLines reads events as one JSON object a line (NDJSON), and hands them to
// do in groups, so that a long stream is durable piece by piece. index is the
// place of the group's first event. Empty lines are skipped. It returns the
// first error of do or of r.
func (l Limits) ReadLines(r io.Reader, do func(index int, group []Incoming) error) error {
	const groupEvents, groupBytes = 500, 1 << 20
	lines := bufio.NewReaderSize(r, 64<<10)
	var group []Incoming
	index, size := 0, 0
	flush := func() error {
		if len(group) == 0 {
			return nil
		}
		err := do(index, group)
		index += len(group)
		group, size = group[:0], 0
		return err
	}
	for {
		line, tooLong, err := readLine(lines, l.Event)
		if text := bytes.TrimSpace(line); tooLong > 0 {
			group = append(group, Incoming{Err: tooLarge(tooLong, l.Event)})
		} else if len(text) > 0 {
			group = append(group, l.DecodeOne(text))
			size += len(text)
		}
		if err == nil && len(group) < groupEvents && size < groupBytes && (lines.Buffered() > 0 || len(group) == 0) {
			continue
		}
		if flushErr := flush(); flushErr != nil {
			return flushErr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readLine reads one line. tooLong is its length where it exceeds the limit;
// the line itself is then passed over without being kept.
func readLine(r *bufio.Reader, limit int64) (line []byte, tooLong int64, err error) {
	total := int64(0)
	for {
		part, err := r.ReadSlice('\n')
		total += int64(len(part))
		if total <= limit+2 {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if total > limit+2 {
			return nil, total, err
		}
		return line, 0, err
	}
}
