package journal

import (
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

const (
	keySize  = len(segment.Key{})
	slotSize = 4
	minSlots = 1 << 10
)

// dedupe remembers the keys of the newest events: one for each of the last
// window sequences. Because sequences have no gaps, a key's place in the ring is
// its sequence modulo the window, so that no sequence is stored, and the oldest
// key is always the one that is overwritten. An open-addressed table of 32-bit
// places finds a key.
//
// At 5 M events that is 80 MB for the ring and 34 MB for the table, outside the
// Go heap; memory is touched as the journal grows. Safe for concurrent use.
type dedupe struct {
	window uint64

	mu    sync.RWMutex // guards all below
	last  event.Seq    // the newest sequence
	count int
	ring  []byte // window keys; a zero key is an empty place
	table []byte // 32-bit place+1, linear probing; 0 is empty
	mask  uint64
}

func newDedupe(window int) (*dedupe, error) {
	ring, err := offHeap(window * keySize)
	if err != nil {
		return nil, err
	}
	table, err := offHeap(minSlots * slotSize)
	if err != nil {
		_ = unix.Munmap(ring)
		return nil, err
	}
	return &dedupe{window: uint64(window), ring: ring, table: table, mask: minSlots - 1}, nil
}

// offHeap gives zeroed memory that the collector does not see and that costs
// nothing until it is touched.
func offHeap(size int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("get %d bytes for the dedupe table: %w", size, err)
	}
	return b, nil
}

func (d *dedupe) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ring != nil {
		_ = unix.Munmap(d.ring)
		_ = unix.Munmap(d.table)
		d.ring, d.table, d.count = nil, nil, 0
	}
}

// find gives the newest sequence with a key. The caller compares the event.
func (d *dedupe) find(key segment.Key) (event.Seq, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.ring == nil {
		return 0, false
	}
	var newest event.Seq
	for slot := home(key, d.mask); ; slot = (slot + 1) & d.mask {
		place, ok := d.at(slot)
		if !ok {
			return newest, newest != 0
		}
		if segment.Key(d.ring[place*uint64(keySize):]) == key {
			newest = max(newest, d.last-event.Seq((uint64(d.last)-place)%d.window))
		}
	}
}

// add takes the key of the next sequence, and forgets the one a window before.
func (d *dedupe) add(seq event.Seq, key segment.Key) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.advance(seq)
	return d.put(seq, key)
}

// load takes the key of an older sequence while the table is rebuilt, unless
// the window does not reach that far back.
func (d *dedupe) load(seq event.Seq, key segment.Key) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if seq > d.last {
		d.advance(seq)
	}
	if uint64(d.last-seq) >= d.window {
		return nil
	}
	return d.put(seq, key)
}

// begin makes seq the newest sequence and room for the keys before it, so that
// the table need not grow again and again while it is rebuilt.
func (d *dedupe) begin(seq event.Seq) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if seq > d.last {
		d.advance(seq)
	}
	for keys := min(uint64(seq), d.window); keys*3 > (d.mask+1)*2; {
		if err := d.grow(); err != nil {
			return err
		}
	}
	return nil
}

// advance makes seq the newest and empties the places up to it.
func (d *dedupe) advance(seq event.Seq) {
	from := d.last + 1
	if uint64(seq) > d.window {
		from = max(from, seq+1-event.Seq(d.window))
	}
	if d.count > 0 {
		for s := from; s <= seq; s++ {
			d.drop(uint64(s) % d.window)
		}
	}
	d.last = seq
}

func (d *dedupe) put(seq event.Seq, key segment.Key) error {
	place := uint64(seq) % d.window
	d.drop(place)
	if uint64(d.count+1)*3 > (d.mask+1)*2 {
		if err := d.grow(); err != nil {
			return err
		}
	}
	copy(d.ring[place*uint64(keySize):], key[:])
	d.insert(key, place)
	d.count++
	return nil
}

func (d *dedupe) insert(key segment.Key, place uint64) {
	slot := home(key, d.mask)
	for {
		if _, used := d.at(slot); !used {
			break
		}
		slot = (slot + 1) & d.mask
	}
	d.set(slot, uint32(place+1))
}

// drop forgets the key at a place, and closes the hole in its run of slots.
func (d *dedupe) drop(place uint64) {
	key := segment.Key(d.ring[place*uint64(keySize):])
	if key == (segment.Key{}) {
		return
	}
	clear(d.ring[place*uint64(keySize) : (place+1)*uint64(keySize)])
	d.count--
	slot := home(key, d.mask)
	for {
		if p, used := d.at(slot); !used || p == place {
			break
		}
		slot = (slot + 1) & d.mask
	}
	for next := (slot + 1) & d.mask; ; next = (next + 1) & d.mask {
		p, used := d.at(next)
		if !used {
			break
		}
		want := home(segment.Key(d.ring[p*uint64(keySize):]), d.mask)
		// An entry may move back into the hole unless its home lies behind it.
		if (next-want)&d.mask >= (next-slot)&d.mask {
			d.set(slot, uint32(p+1))
			slot = next
		}
	}
	d.set(slot, 0)
}

func (d *dedupe) grow() error {
	table, err := offHeap(len(d.table) * 2)
	if err != nil {
		return err
	}
	old := d.table
	d.table, d.mask = table, d.mask*2+1
	for i := 0; i < len(old); i += slotSize {
		if p := binary.LittleEndian.Uint32(old[i:]); p != 0 {
			place := uint64(p - 1)
			d.insert(segment.Key(d.ring[place*uint64(keySize):]), place)
		}
	}
	return unix.Munmap(old)
}

func (d *dedupe) at(slot uint64) (place uint64, used bool) {
	p := binary.LittleEndian.Uint32(d.table[slot*slotSize:])
	return uint64(p) - 1, p != 0
}

func (d *dedupe) set(slot uint64, value uint32) {
	binary.LittleEndian.PutUint32(d.table[slot*slotSize:], value)
}

// size gives the number of keys, and the bytes of address space in use.
func (d *dedupe) size() (keys, bytes int) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.count, min(d.count*keySize, len(d.ring)) + len(d.table)
}

func home(key segment.Key, mask uint64) uint64 {
	return binary.LittleEndian.Uint64(key[:8]) & mask
}
