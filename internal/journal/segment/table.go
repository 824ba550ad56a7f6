package segment

import (
	"encoding/binary"
	"math"
	"slices"
	"sync/atomic"

	"github.com/tocsin-events/tocsin/internal/event"
)

const (
	chunkSize = 1 << 20 // bytes of one piece of a table's arena
	day       = int64(86400 * 1e9)
)

// Table is the memtable: events in columns, in the order of their sequences,
// all classes mixed. One goroutine adds and publishes; any number may read what
// has been published, without a lock.
type Table struct {
	w    writer
	view atomic.Pointer[tableView]
}

// writer is what only the one writing goroutine touches. Readers have slices of
// its arrays, cut at what was published; it only ever appends behind that.
type writer struct {
	columns
	rows   []tableRow
	chunks [][]byte
	bytes  int64

	typ, kind, source, actor, ip interner
	codes                        map[code]uint32
	lastDay                      [classes]int64
}

// code is one combination of the attributes that share a column, since they
// nearly always go together.
type code struct {
	typ, kind uint32
	severity  event.Severity
}

// tableRow is what no filter asks about.
type tableRow struct {
	recorded, day      int64
	chunk, offset, len uint32
	key                Key
}

// tableView is a Table as it was published once.
type tableView struct {
	columns
	lists  [5]list // types, kinds, sources, actors, addresses
	rows   []tableRow
	chunks [][]byte
	bytes  int64
}

// NewTable makes an empty table.
func NewTable() *Table {
	t := &Table{w: writer{codes: make(map[code]uint32)}}
	c := &t.w.columns
	c.seq, c.time, c.expiry = column{width: 8, unit: 1}, column{width: 8, unit: 1}, column{width: 8, unit: 1}
	c.class = column{width: 1, unit: 1}
	for _, codes := range []*column{&c.code, &c.source, &c.actor, &c.ip, &c.codeType, &c.codeKind, &c.codeSeverity} {
		*codes = column{width: 4, unit: 1}
	}
	for i := range t.w.lastDay {
		t.w.lastDay[i] = math.MinInt64
	}
	t.view.Store(&tableView{columns: t.w.columns})
	return t
}

// Reserve makes room for events, so that the columns need not grow while they
// are added. It must come before the first Add.
func (t *Table) Reserve(events int) {
	c := &t.w.columns
	for _, of := range []*column{&c.seq, &c.time, &c.expiry, &c.class, &c.code, &c.source, &c.actor, &c.ip} {
		of.data = make([]byte, 0, of.width*events)
	}
	t.w.rows = make([]tableRow, 0, events)
}

// Add appends an event, whose sequence must be greater than those before, and
// copies its body. Readers see it only after Publish.
func (t *Table) Add(e *Entry) {
	w := &t.w
	c := &w.columns
	if c.n == 0 {
		c.first, c.minTime, c.maxTime = e.Seq, e.Time, e.Time
	}
	c.n++
	c.last, c.minTime, c.maxTime = e.Seq, min(c.minTime, e.Time), max(c.maxTime, e.Time)
	if e.Expiry != 0 && (c.minExpiry == 0 || e.Expiry < c.minExpiry) {
		c.minExpiry = e.Expiry
	}
	c.seq.add8(int64(e.Seq))
	c.time.add8(e.Time)
	c.expiry.add8(e.Expiry)
	c.class.data = append(c.class.data, byte(e.Class))
	c.code.add4(w.codeOf(code{w.typ.code(e.Type), w.kind.code(e.Kind), e.Severity}))
	c.source.add4(w.source.code(e.Source))
	c.actor.add4(w.actor.code(e.Actor))
	c.ip.add4(w.ip.code(e.ClientIP))
	row := w.store(e.Body)
	row.recorded, row.key, row.day = e.Recorded, e.Key, w.dayOf(e)
	w.rows = append(w.rows, row)
}

func (w *writer) codeOf(k code) uint32 {
	c, ok := w.codes[k]
	if !ok {
		c = uint32(len(w.codes))
		w.codes[k] = c
		w.codeCount++
		w.codeType.add4(k.typ)
		w.codeKind.add4(k.kind)
		w.codeSeverity.add4(uint32(k.severity))
	}
	return c
}

// dayOf gives the day whose segment the event goes to. A clock that steps back
// moves no event before one of its class that came earlier, so that every
// segment holds an unbroken piece of the class's hash chain.
func (w *writer) dayOf(e *Entry) int64 {
	d := e.Recorded / day
	if e.Recorded%day < 0 {
		d--
	}
	last := &w.lastDay[e.Class%classes]
	*last = max(*last, d)
	return *last
}

func (w *writer) store(body []byte) tableRow {
	last := len(w.chunks) - 1
	if last < 0 || cap(w.chunks[last])-len(w.chunks[last]) < len(body) {
		w.chunks = append(w.chunks, make([]byte, 0, max(chunkSize, len(body))))
		last++
	}
	chunk := w.chunks[last]
	w.chunks[last] = append(chunk, body...)
	w.bytes += int64(len(body))
	return tableRow{chunk: uint32(last), offset: uint32(len(chunk)), len: uint32(len(body))}
}

// Publish makes everything added so far visible to readers, all at once.
func (t *Table) Publish() {
	w := &t.w
	v := &tableView{columns: w.columns, rows: w.rows, bytes: w.bytes, chunks: slices.Clone(w.chunks)}
	v.lists = [...]list{w.typ.values, w.kind.values, w.source.values, w.actor.values, w.ip.values}
	v.types, v.kinds, v.sources, v.actors, v.ips = v.lists[0], v.lists[1], v.lists[2], v.lists[3], v.lists[4]
	t.view.Store(v)
}

// Len is the number of published events.
func (t *Table) Len() int { return t.view.Load().n }

// Bytes is the memory that the published bodies take.
func (t *Table) Bytes() int64 { return t.view.Load().bytes }

// First is the first published sequence; 0 when there is none.
func (t *Table) First() event.Seq { return t.view.Load().first }

// Last is the last published sequence; 0 when there is none.
func (t *Table) Last() event.Seq { return t.view.Load().last }

// Parts gives the segments into which the published events split, each class's
// in the order of its hash chain.
func (t *Table) Parts() []Part {
	v := t.view.Load()
	var parts []Part
	for i := range v.rows {
		if p := v.part(i); !slices.Contains(parts, p) {
			parts = append(parts, p)
		}
	}
	return parts
}

func (v *tableView) part(i int) Part { return Part{Class(v.class.data[i]), v.rows[i].day} }

func (v *tableView) stored(i int) []byte {
	r := &v.rows[i]
	return v.chunks[r.chunk][r.offset:][:r.len:r.len]
}

// attributes gives what the columns hold of an event.
func (v *tableView) attributes(i int, a *attributes) {
	code := int(v.code.raw(i))
	*a = attributes{
		typ: v.lists[0][v.codeType.raw(code)], kind: v.lists[1][v.codeKind.raw(code)],
		source: v.lists[2][v.source.raw(i)], actor: v.lists[3][v.actor.raw(i)], ip: v.lists[4][v.ip.raw(i)],
		severity: v.severity(code), time: v.time.value(i), expiry: v.expiry.value(i),
	}
}

func (t *Table) open() (view, error) { return t.view.Load(), nil }

func (v *tableView) cols() *columns { return &v.columns }

func (v *tableView) times(int) (low, high int64) { return v.minTime, v.maxTime }

func (v *tableView) check(int) error { return nil }

func (v *tableView) pairs(...uint64) (blockSet, error) { return nil, nil }

func (v *tableView) text([]byte) (blockSet, error) { return nil, nil }

func (v *tableView) anyBody(from, to int, holds func([]byte) bool) bool {
	for from < to { // the bodies of one chunk lie one behind the other
		first := &v.rows[from]
		next := from + 1
		for next < to && v.rows[next].chunk == first.chunk {
			next++
		}
		last := &v.rows[next-1]
		if holds(v.chunks[first.chunk][first.offset : last.offset+last.len]) {
			return true
		}
		from = next
	}
	return false
}

func (v *tableView) load(int, *bodies) error { return nil }

func (v *tableView) body(i int, _ *bodies) (recorded int64, body []byte, err error) {
	return v.rows[i].recorded, v.stored(i), nil
}

func (v *tableView) data(i int, _ *bodies) ([]byte, error) { return v.stored(i), nil }

func (c *column) add4(v uint32) { c.data = binary.LittleEndian.AppendUint32(c.data, v) }

func (c *column) add8(v int64) { c.data = binary.LittleEndian.AppendUint64(c.data, uint64(v)) }
