package segment

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/tocsin-events/tocsin/internal/event"
)

// generator makes events like those of the project's benchmarks: about 660
// bytes, types, actors and addresses in Zipf distributions.
type generator struct {
	r                 *rand.Rand
	types, actors, ip *rand.Zipf
	at                time.Time
	step              time.Duration
	seq               event.Seq
	buf               []byte
}

const word = "open repository lock unable create backend already locked process root nightly offsite snapshot volume mount device error timeout refused connection reset peer certificate expires domain handshake verify chain upload download transfer quota exceeded user login failed attempt address blocked rule matched"

func newGenerator(seed uint64, step time.Duration) *generator {
	r := rand.New(rand.NewPCG(seed, 1))
	return &generator{
		r: r, types: rand.NewZipf(r, 1.1, 2, 149), actors: rand.NewZipf(r, 1.1, 2, 1999), ip: rand.NewZipf(r, 1.1, 2, 4999),
		at: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), step: step,
	}
}

func (g *generator) words(n int) string {
	var text strings.Builder
	for range n {
		i := g.r.IntN(len(word) - 12)
		text.WriteString(word[i:i+6+g.r.IntN(6)] + " ")
	}
	return text.String()
}

func (g *generator) uuid() string {
	a, b := g.r.Uint64(), g.r.Uint64()
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", uint32(a), uint16(a>>32), uint16(a>>48), uint16(b), b>>16)
}

// next makes an entry whose Body is valid until the next call.
func (g *generator) next() *Entry {
	g.seq++
	g.at = g.at.Add(time.Duration(g.r.Int64N(int64(2*g.step) + 1)))
	t := g.types.Uint64()
	severity := []event.Severity{event.Info, event.Info, event.Info, event.Notice, event.Warn, event.Error, event.Critical}[g.r.IntN(7)]
	kinds := event.Kinds()
	e := event.Event{
		ID: event.ID(g.uuid()), Source: fmt.Sprintf("https://tocsin.example/host/web-%d", g.r.IntN(40)),
		Type: event.Type(fmt.Sprintf("family_%d.happened", t)), Subject: fmt.Sprintf("server/%d", g.r.IntN(500)),
		Time: g.at.Add(-time.Duration(g.r.IntN(2000)) * time.Millisecond).Truncate(time.Millisecond), Kind: kinds[int(t)%len(kinds)], Severity: severity,
		AuthType: "service_account", AuthID: fmt.Sprintf("actor-%04d", g.actors.Uint64()), ClientIP: address(g.ip.Uint64()),
		Host: fmt.Sprintf("web-%d", g.r.IntN(40)),
	}
	rare := ""
	if g.r.IntN(200000) == 0 {
		rare = "Zyxwvut needle"
	}
	e.Data = fmt.Appendf(nil, `{"name":"job-%d","tool":"restic","exit_status":%d,"duration_ms":%d,"bytes":%d,"request_id":"%016x%016x","zone":"z%d","ticket":"T-%d","message":"%s%s","path":"/srv/data/%d/file","labels":["nightly","zone-%d"]}`,
		g.r.IntN(300), g.r.IntN(4), g.r.IntN(100000), g.r.Int64N(1<<34), g.r.Uint64(), g.r.Uint64(), g.r.IntN(12), g.r.IntN(20000), g.words(14), rare, g.r.IntN(1000), g.r.IntN(5))
	return g.entry(&e)
}

func address(n uint64) string { return fmt.Sprintf("198.%d.%d.%d", 18+n%2, n/200%256, n*7%251) }

func (g *generator) entry(e *event.Event) *Entry {
	g.buf = e.AppendStored(g.buf[:0])
	out := &Entry{
		Seq: g.seq, Recorded: g.at.UnixNano(), Time: e.Time.UnixNano(),
		Type: string(e.Type), Kind: string(e.Kind), Source: e.Source, Actor: e.AuthID, ClientIP: e.ClientIP,
		Severity: e.Severity, Body: g.buf,
	}
	if !e.ExpiryTime.IsZero() {
		out.Expiry = e.ExpiryTime.UnixNano()
	}
	h := xxh3.HashString128(e.Source + "\x00" + string(e.ID)).Bytes()
	copy(out.Key[:], h[:])
	return out
}

// table fills a table with n events.
func (g *generator) table(tb testing.TB, n int) *Table {
	tb.Helper()
	t := NewTable()
	for range n {
		t.Add(g.next())
	}
	t.Publish()
	return t
}
