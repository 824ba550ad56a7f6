package segment

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

// memory is a file system that holds one file, and has no file descriptors, so
// that segments are read instead of mapped.
type memory struct {
	vfs.OS
	content []byte
}

type memoryFile struct {
	vfs.File
	*bytes.Reader
}

func (m memory) Open(string, bool) (vfs.File, error) {
	return memoryFile{Reader: bytes.NewReader(m.content)}, nil
}

func (f memoryFile) Size() (int64, error)                   { return f.Reader.Size(), nil }
func (f memoryFile) Close() error                           { return nil }
func (f memoryFile) ReadAt(b []byte, at int64) (int, error) { return f.Reader.ReadAt(b, at) }
func (f memoryFile) WriteAt([]byte, int64) (int, error)     { return 0, io.ErrClosedPipe }

// smallSegment is the content of a segment with a few blocks.
func smallSegment(tb testing.TB) (content []byte, records []*record) {
	tb.Helper()
	content, records = segmentOf(tb, 200)
	return content, records
}

func segmentOf(tb testing.TB, n int) ([]byte, []*record) {
	tb.Helper()
	r := newRand(4)
	table := NewTable()
	var records []*record
	for i := range n {
		rec := someRecord(r, event.Seq(i+1))
		rec.entry.Class, rec.entry.Recorded = Default, someStart+int64(i)*1e6
		records = append(records, rec)
		table.Add(&rec.entry)
	}
	table.Publish()
	path, err := Write(vfs.OS{}, tb.TempDir(), table, table.Parts()[0], Hash{})
	if err != nil {
		tb.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return content, records
}

// TestDamage changes every byte in turn: Open or Verify must notice, and no
// search may serve anything but what was written, or keep quiet about a loss.
func TestDamage(t *testing.T) {
	content, records := smallSegment(t)
	stride := 1
	if testing.Short() {
		stride = 13
	}
	plans := []*filter.Node{
		nil,
		in(filter.ColumnActor, "alice"),
		{Op: filter.OpText, Values: []string{"needle"}},
		{Op: filter.OpData, Path: "a", Values: []string{"1"}},
	}
	q := Query{Since: -1 << 63, Until: 1<<63 - 1}
	for at := 0; at < len(content); at += stride {
		broken := bytes.Clone(content)
		broken[at] ^= 0x10
		r, err := Open(memory{content: broken}, "broken.seg")
		if err != nil {
			continue
		}
		var damage *DamageError
		if err := r.Verify(context.Background()); !errors.As(err, &damage) || damage.Path != "broken.seg" || damage.First == 0 || damage.Last < damage.First {
			t.Fatalf("byte %d of %d: Verify says %v", at, len(content), err)
		}
		if at%17 != 0 {
			continue // searching each time would take long
		}
		for _, plan := range plans {
			q.Plan = plan
			q.Match = func(e *event.Event) (bool, error) { return records[e.Sequence-1].truth(plan) }
			page, err := Search(context.Background(), []Source{r}, &q)
			if err != nil {
				t.Fatal(err)
			}
			checkServed(t, &q, page, records)
		}
		r.Release()
	}
}

// checkServed makes sure that all hits are right, and that what is missing is
// inside a reported range.
func checkServed(t *testing.T, q *Query, page Page, records []*record) {
	t.Helper()
	got := make(map[event.Seq]bool)
	for _, h := range page.Hits {
		r := records[h.Seq-1]
		if !bytes.Equal(h.Body, r.entry.Body) || !r.matches(q) {
			t.Fatalf("served event %d:\n%s\nwritten:\n%s", h.Seq, h.Body, r.entry.Body)
		}
		got[h.Seq] = true
	}
	for _, r := range records {
		if !r.matches(q) || got[r.entry.Seq] {
			continue
		}
		named := false
		for _, p := range page.Problems {
			var d *DamageError
			named = named || errors.As(p, &d) && d.First <= r.entry.Seq && r.entry.Seq <= d.Last
		}
		if !named {
			t.Fatalf("event %d is missing, and nothing is said: %v", r.entry.Seq, page.Problems)
		}
	}
}

// TestDamagedBlock loses one block, and no more.
func TestDamagedBlock(t *testing.T) {
	content, _ := smallSegment(t)
	content[headerSize+10] ^= 1
	r, err := Open(memory{content: content}, "broken.seg")
	if err != nil {
		t.Fatal(err)
	}
	hits, err := After(context.Background(), []Source{r}, 0, 0)
	var damage *DamageError
	if !errors.As(err, &damage) || damage.First != 1 || damage.Last != blockRows {
		t.Fatalf("After says %v", err)
	}
	if len(hits) == 0 || hits[0].Seq <= blockRows {
		t.Fatalf("%d hits after the damaged block", len(hits))
	}
	if _, err := Get([]Source{r}, 5); !errors.As(err, &damage) {
		t.Errorf("Get of a damaged event says %v", err)
	}
	if _, err := Get([]Source{r}, hits[0].Seq); err != nil {
		t.Errorf("Get of a sound event says %v", err)
	}
}

// TestAltered recomputes the checksum of a changed body: the chain notices.
func TestAltered(t *testing.T) {
	table := newGenerator(8, time.Second).table(t, 100)
	v := table.view.Load()
	b := new(builder)
	if err := b.build(v, table.Parts()[0], Hash{}); err != nil {
		t.Fatal(err)
	}
	body := v.stored(70)
	copy(body[bytes.Index(body, []byte("restic")):], "borg  ")
	altered := new(builder)
	if err := altered.build(v, table.Parts()[0], Hash{}); err != nil {
		t.Fatal(err)
	}
	for i := range altered.index { // as a forger would who leaves the chain as it was signed
		altered.index[i].hash = b.index[i].hash
	}
	at := altered.foot.sections[secIndex].offset
	section := altered.out[at : at : at+altered.foot.sections[secIndex].length]
	for i := range altered.index {
		section = altered.index[i].append(section)
	}
	altered.foot.sections[secIndex].crc = checksum(section)
	altered.foot.info.Out = b.foot.info.Out
	r, err := Open(memory{content: altered.refooted()}, "forged.seg")
	if err != nil {
		t.Fatal(err)
	}
	var damage *DamageError
	if err := r.Verify(context.Background()); !errors.As(err, &damage) || !errors.Is(err, errChain) || damage.First != 65 {
		t.Fatalf("Verify says %v", err)
	}
}

// refooted writes the footer anew.
func (b *builder) refooted() []byte {
	end := len(b.out) - tailSize
	out := b.out[:end-int(binary.LittleEndian.Uint32(b.out[end:]))]
	at := len(out)
	out = b.foot.append(out)
	n := len(out) - at
	out = binary.LittleEndian.AppendUint32(out, uint32(n))
	out = binary.LittleEndian.AppendUint32(out, checksum(out[at:at+n]))
	return append(out, magic...)
}

// FuzzOpen reads whatever a file may hold, with all checksums left out, so that
// the decoders behind them see it.
func FuzzOpen(f *testing.F) {
	content, _ := segmentOf(f, 70)
	f.Add(content, uint32(100), uint64(0))
	f.Add(content, uint32(len(content)-100), uint64(1)<<40)
	f.Add([]byte(magic), uint32(0), uint64(0))
	f.Fuzz(func(t *testing.T, in []byte, at uint32, with uint64) {
		in = bytes.Clone(in)
		if int64(at)+8 <= int64(len(in)) {
			binary.LittleEndian.PutUint64(in[at:], binary.LittleEndian.Uint64(in[at:])^with)
		}
		r, err := open(memory{content: in}, "fuzz.seg", true)
		if err != nil {
			return
		}
		defer r.Release()
		text, match := textOf("needle")
		data := &filter.Node{Op: filter.OpData, Path: "a", Values: []string{"1"}}
		plan := &filter.Node{Op: filter.OpOr, Kids: []*filter.Node{
			text, data, in2(), {Op: filter.OpSeverity, Max: 10}, {Op: filter.OpTime, Max: someStart},
		}}
		for _, ascending := range []bool{false, true} {
			q := Query{Plan: plan, Match: match, Limit: 100, Ascending: ascending, Now: someNow}
			page, err := Search(t.Context(), []Source{r}, &q)
			if err != nil || len(page.Hits) > 100 {
				t.Fatalf("%d hits: %v", len(page.Hits), err)
			}
		}
		for by := range By(5) {
			if _, err := Volume(t.Context(), []Source{r}, &VolumeQuery{By: by, Step: time.Hour}); err != nil && !errors.Is(err, event.ErrInvalid) {
				t.Fatal(err)
			}
		}
		top := &TopQuery{Columns: []filter.Column{filter.ColumnType, filter.ColumnKind, filter.ColumnSource, filter.ColumnActor, filter.ColumnClientIP}, Most: 5}
		if _, err := TopValues(t.Context(), []Source{r}, top); err != nil {
			t.Fatal(err)
		}
		_ = r.Verify(t.Context())
		_ = r.Keys(func(event.Seq, Key) bool { return true })
	})
}

func in2() *filter.Node {
	return &filter.Node{Op: filter.OpAnd, Kids: []*filter.Node{
		in(filter.ColumnActor, "alice", "bob"), in(filter.ColumnType, "a", "b"), in(filter.ColumnID, "id-3"),
		in(filter.ColumnSource, "/one"), in(filter.ColumnClientIP, "192.0.2.1"), in(filter.ColumnKind, "sys"),
	}}
}

// FuzzPack packs any body, with any attributes, and gets it back.
func FuzzPack(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","source":"/s","type":"t","data":"0123456789abcdef0"}`), "/s", "t", int64(0))
	f.Add([]byte("\x01u\x01\x01aaaaaaaaaaaaa1"), "\x01", "", int64(1))
	f.Add([]byte(strings.Repeat("ab12", 300)), "", "", int64(-1))
	f.Fuzz(func(t *testing.T, body []byte, source, typ string, at int64) {
		a := attributes{source: source, typ: typ, time: at, severity: 9, expiry: at}
		var p packer
		p.pack(body, &a)
		have := func() (*attributes, error) { return &a, nil }
		got, err := unpack(nil, p.text, p.ids, have)
		if err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%v\n%q\n%q", err, got, body)
		}
		_, _ = unpack(nil, body, []byte(source), have) // must not panic
		text, ids, err := dataTail(p.text, p.ids)
		if err != nil {
			t.Fatal(err)
		}
		if tail, err := unpack(nil, text, ids, have); err != nil || !bytes.HasSuffix(body, tail) {
			t.Fatalf("%v\n%q is not the end of\n%q", err, tail, body)
		}
	})
}

// TestWriteFails injects a failure at each call: nothing half-written may stay
// under a segment's name, and a second try succeeds.
func TestWriteFails(t *testing.T) {
	table := newGenerator(9, time.Second).table(t, 100)
	part := table.Parts()[0]
	for fail := range 5 {
		dir := t.TempDir()
		calls := fail
		if _, err := Write(failing{vfs.OS{}, &calls}, dir, table, part, Hash{}); err == nil {
			t.Fatalf("call %d failed, and Write did not say so", fail)
		}
		path, err := Write(vfs.OS{}, dir, table, part, Hash{})
		if err != nil {
			t.Fatal(err)
		}
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(names) != 1 || names[0] != path {
			t.Fatalf("the folder holds %v: %v", names, err)
		}
	}
}

var errInjected = errors.New("injected")

// failing fails the call number calls, counted from 0.
type failing struct {
	vfs.OS
	calls *int
}

type failingFile struct {
	vfs.File
	fs failing
}

func (f failing) hit() bool {
	*f.calls--
	return *f.calls == -1
}

func (f failing) Create(path string) (vfs.File, error) {
	if f.hit() {
		return nil, errInjected
	}
	file, err := f.OS.Create(path)
	return failingFile{file, f}, err
}

func (f failingFile) WriteAt(b []byte, at int64) (int, error) {
	if f.fs.hit() {
		n, _ := f.File.WriteAt(b[:len(b)/2], at)
		return n, errInjected
	}
	return f.File.WriteAt(b, at)
}

func (f failingFile) Sync() error {
	if f.fs.hit() {
		return errInjected
	}
	return f.File.Sync()
}

func (f failing) Rename(from, to string) error {
	if f.hit() {
		return errInjected
	}
	return f.OS.Rename(from, to)
}

func (f failing) SyncDir(path string) error {
	if f.hit() {
		return errInjected
	}
	return f.OS.SyncDir(path)
}

// TestCodesOutside counts no event whose code damaged bytes made: below zero,
// past the last one, or past what an int holds.
func TestCodesOutside(t *testing.T) {
	keys := []int{7, 8}
	for _, tt := range []struct {
		column column
		key    int
		ok     bool
	}{
		{column{base: 1, unit: 1}, 8, true},
		{column{base: 2, unit: 1}, 0, false},
		{column{base: -1, unit: 1}, 0, false},
		{column{base: math.MinInt64, unit: -1}, 0, false},
		{column{base: 0, unit: -30064771072, width: 1, data: []byte{1}}, 0, false},
	} {
		key, ok := codeKey(&cursor{c: &columns{code: tt.column}}, keys, 0)
		if key != tt.key || ok != tt.ok {
			t.Errorf("codeKey of %+v = %d, %t; want %d, %t", tt.column, key, ok, tt.key, tt.ok)
		}
	}
}
