package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/wal"
)

// TransientAge is how long an event of the class transient is kept.
const TransientAge = time.Hour

// seed keys the dedupe hash, so that nobody can make two events collide.
type seed [32]byte

// key hashes (source, id): the first 128 bits of SHA-256 over the seed, the
// length of the source, the source and the id. scratch is reused.
func (s *seed) key(scratch []byte, source string, id event.ID) (segment.Key, []byte) {
	scratch = append(scratch[:0], s[:]...)
	scratch = binary.LittleEndian.AppendUint32(scratch, uint32(len(source)))
	scratch = append(scratch, source...)
	scratch = append(scratch, id...)
	sum := sha256.Sum256(scratch)
	return segment.Key(sum[:]), scratch
}

// entry fills in what has a column from an event; Seq, Recorded, Class, Key and
// Body are left to the caller.
func entry(to *segment.Entry, e *event.Event) {
	*to = segment.Entry{
		Type: string(e.Type), Kind: string(e.Kind), Source: e.Source, Actor: e.AuthID,
		ClientIP: e.ClientIP, Severity: e.Severity, Time: nanos(e.Time), Expiry: nanos(e.ExpiryTime),
	}
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// record sets what is known only when an event is recorded. An event without a
// time happened when it was recorded; one that is transient expires.
func record(e *segment.Entry, seq event.Seq, recorded int64) {
	e.Seq, e.Recorded = seq, recorded
	if e.Time == 0 {
		e.Time = recorded
	}
	if e.Class == segment.Transient {
		if end := recorded + int64(TransientAge); e.Expiry == 0 || e.Expiry > end {
			e.Expiry = end
		}
	}
}

// replayed rebuilds the entry of a record in the log.
func replayed(to *segment.Entry, r *wal.Record, seq event.Seq, recorded int64) error {
	e, err := event.Decode(r.Body)
	entry(to, &e)
	to.Class, to.Key, to.Body, to.Expiry = r.Class, r.Key, r.Body, r.Expiry
	record(to, seq, recorded)
	return err
}

// sameEvent reports whether a stored body is the event (source, id), and
// whether its content is that of another body. A body that can't be read is
// taken for the same: its key, of 128 bits, was.
func sameEvent(stored, body []byte, source string, id event.ID) (same, conflict bool) {
	if bytes.Equal(stored, body) {
		return true, false
	}
	a, err := event.Decode(stored)
	if err != nil {
		return true, false
	}
	if a.Source != source || a.ID != id {
		return false, false
	}
	b, err := event.Decode(body)
	if err != nil {
		return true, true
	}
	clearServerSet(&a)
	clearServerSet(&b)
	return true, !bytes.Equal(a.AppendStored(nil), b.AppendStored(nil))
}

// clearServerSet takes away what the server sets: it may differ between two
// deliveries of one event.
func clearServerSet(e *event.Event) {
	e.RecordedBy, e.Brand, e.CausationDepth, e.ExpiryTime = "", "", 0, time.Time{}
	e.GeoCountry, e.GeoContinent, e.GeoCity, e.GeoLat, e.GeoLon = "", "", "", "", ""
	e.ASN, e.ASOrg, e.ASNetwork = "", "", ""
}
