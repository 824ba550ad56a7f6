package event

import (
	"crypto/rand"
	"encoding/hex"
	"time"
)

// NewID makes a UUID version 7 (RFC 9562, 5.7) with a clock of 12 bits more than
// milliseconds (6.2, method 3): ids made a microsecond apart sort as they were
// made.
func NewID() ID {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails since Go 1.24
	now := time.Now()
	ms := uint64(now.UnixMilli())
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	fraction := uint64(now.Nanosecond()%int(time.Millisecond)) << 12 / uint64(time.Millisecond)
	u[6] = 0x70 | byte(fraction>>8)
	u[7] = byte(fraction)
	u[8] = u[8]&0x3F | 0x80
	var text [36]byte
	hex.Encode(text[0:8], u[0:4])
	hex.Encode(text[9:13], u[4:6])
	hex.Encode(text[14:18], u[6:8])
	hex.Encode(text[19:23], u[8:10])
	hex.Encode(text[24:36], u[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return ID(text[:])
}
