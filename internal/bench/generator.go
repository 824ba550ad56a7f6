package bench

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// What the generated events are drawn from: each from a Zipf distribution.
const (
	Types     = 150
	Actors    = 2000
	Addresses = 5000
	Span      = 30 * 24 * time.Hour // from the first event to the last
)

const zipf = 1.1 // exponent of the distributions

// needles is how many different texts, and values at data.release, are planted.
const needles = 20

// commonText is in the message of about every tenth event.
const commonText = "timeout"

// Generator makes events: about 660 bytes of JSON, with a random UUID and 32
// random hexadecimal digits in each. Two with the same seed, total and end make
// the same events. It belongs to one goroutine.
type Generator struct {
	r                    *rand.Rand
	random               *rand.ChaCha8
	types, actors, hosts *rand.Zipf
	addresses            *rand.Zipf
	texts                []string // that are planted
	releases             []string
	n, total, distance   int
	start                time.Time
}

// NewGenerator makes a generator of total events, the last of which happens at
// end. In every distance events each planted text occurs once, and each planted
// release ten times.
func NewGenerator(seed uint64, total, distance int, end time.Time) *Generator {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	random := rand.NewChaCha8(key)
	r := rand.New(random) //nolint:gosec // no secrets are made here
	g := &Generator{
		r: r, random: random, total: total, distance: max(distance, 10*needles), start: end.Add(-Span).Truncate(time.Millisecond),
		types: rand.NewZipf(r, zipf, 1, Types-1), actors: rand.NewZipf(r, zipf, 1, Actors-1),
		addresses: rand.NewZipf(r, zipf, 1, Addresses-1), hosts: rand.NewZipf(r, zipf, 1, 39),
	}
	for range needles {
		g.texts = append(g.texts, word(r, 12))
		g.releases = append(g.releases, fmt.Sprintf("r%d.%d-%s", 2000+r.IntN(30), r.IntN(100), word(r, 6)))
	}
	return g
}

// word makes up a word of syllables, so that its trigrams occur elsewhere, too.
func word(r *rand.Rand, letters int) string {
	const consonants, vowels = "bcdfglmnprstvk", "aeiou"
	b := make([]byte, letters)
	for i := range b {
		if i%2 == 0 {
			b[i] = consonants[r.IntN(len(consonants))]
		} else {
			b[i] = vowels[r.IntN(len(vowels))]
		}
	}
	return string(b)
}

// Texts are the planted texts: each in the message of every distance'th event.
func (g *Generator) Texts() []string { return g.texts }

// Releases are the planted values of data.release.
func (g *Generator) Releases() []string { return g.releases }

// typeName is the i'th most frequent type.
func typeName(i int) event.Type {
	return event.Type("bench." + families[i%len(families)] + "." + strconv.Itoa(i))
}

func actorName(i int) string { return "user-" + strconv.Itoa(100_000+i*37) }

// addressName is in 198.18.0.0/15, which RFC 2544 sets aside for benchmarks.
func addressName(i int) string {
	n := i * 26
	return fmt.Sprintf("198.%d.%d.%d", 18+n>>16, n>>8&255, n&255)
}

// severityOf goes with the type, as it does in life.
func severityOf(typ int) event.Severity {
	switch typ % 20 {
	case 3, 8, 12, 17:
		return event.Notice
	case 5, 11:
		return event.Warn
	case 7:
		return event.Error
	case 19:
		return event.Critical
	default:
		return event.Info
	}
}

// Next makes the next event. Nothing in it is shared with another.
func (g *Generator) Next() event.Event {
	typ := int(g.types.Uint64())
	host := "web-" + strconv.Itoa(int(g.hosts.Uint64()))
	at := g.start.Add(time.Duration(float64(Span) * float64(g.n) / float64(g.total))).Truncate(time.Millisecond)
	e := event.Event{
		ID: event.ID(g.uuid()), Source: "https://tocsin.example/host/" + host, Type: typeName(typ), Kind: event.KindCustom,
		Subject: "order/" + strconv.Itoa(g.r.IntN(1_000_000)), Time: at, Severity: severityOf(typ), AuthType: "user",
		AuthID: actorName(int(g.actors.Uint64())), ClientIP: addressName(int(g.addresses.Uint64())), Host: host,
	}
	e.Data = g.data(make([]byte, 0, 384))
	g.n++
	return e
}

func (g *Generator) uuid() string {
	var b [16]byte
	_, _ = g.random.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0F|0x40, b[8]&0x3F|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func (g *Generator) data(dst []byte) []byte {
	var id [16]byte
	_, _ = g.random.Read(id[:])
	r := g.r
	dst = append(dst, `{"message":"`...)
	dst = g.message(dst)
	dst = append(dst, `","request_id":"`...)
	dst = hex.AppendEncode(dst, id[:])
	dst = append(dst, `","path":"/v1/`...)
	dst = append(dst, nouns[r.IntN(len(nouns))]...)
	dst = append(dst, '/')
	dst = strconv.AppendInt(dst, int64(r.IntN(10_000)), 10)
	dst = append(dst, `","status":`...)
	dst = strconv.AppendInt(dst, statuses[r.IntN(len(statuses))], 10)
	dst = append(dst, `,"duration_ms":`...)
	dst = strconv.AppendInt(dst, int64(math.Exp(r.NormFloat64()*1.5+4)), 10)
	dst = append(dst, `,"bytes":`...)
	dst = strconv.AppendInt(dst, int64(math.Exp(r.NormFloat64()*2+8)), 10)
	dst = append(dst, `,"region":"`...)
	dst = append(dst, regions[r.IntN(len(regions))]...)
	dst = append(dst, `","release":"`...)
	dst = append(dst, g.release()...)
	dst = append(dst, `","attempt":`...)
	dst = strconv.AppendInt(dst, int64(1+r.IntN(3)), 10)
	dst = append(dst, `,"cached":`...)
	dst = strconv.AppendBool(dst, r.IntN(2) == 0)
	return append(dst, `,"labels":["checkout","blue"]}`...)
}

// message writes a line as programs do: one of some shapes, with words filled in.
func (g *Generator) message(dst []byte) []byte {
	r := g.r
	dst = append(dst, verbs[r.IntN(len(verbs))]...)
	dst = append(dst, ' ')
	dst = append(dst, nouns[r.IntN(len(nouns))]...)
	dst = append(dst, " for "...)
	dst = append(dst, nouns[r.IntN(len(nouns))]...)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(r.IntN(100_000)), 10)
	switch r.IntN(10) {
	case 0:
		dst = append(dst, ": "+commonText+" while waiting for the answer of "...)
	case 1, 2, 3:
		dst = append(dst, ": the connection was refused by "...)
	default:
		dst = append(dst, ": done after the usual checks on "...)
	}
	dst = append(dst, nouns[r.IntN(len(nouns))]...)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, int64(r.IntN(30)), 10)
	if i := g.n % g.distance; i%3 == 0 && i/3 < len(g.texts) {
		dst = append(append(dst, ' '), g.texts[i/3]...)
	}
	return dst
}

func (g *Generator) release() string {
	if i := g.n % (g.distance / 10); i < len(g.releases) {
		return g.releases[i]
	}
	return "r2026." + strconv.Itoa(g.r.IntN(12))
}
