package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// overHTTP compares a whole server with a bare handler, with the same client.
func (b *bench) overHTTP(ctx context.Context) error {
	for _, s := range []struct {
		name                  string
		clients, batch, total int
		goal                  float64
	}{
		{"a request for each event, 64 clients", 64, 1, b.s.httpSingle, 0.6},
		{"requests of 500 events, 4 clients", 4, 500, b.s.httpBatch, 0.3},
	} {
		var ours, theirs samples
		for round := range b.s.rounds {
			b.o.Say(fmt.Sprintf("http, %s: round %d of %d", s.name, round+1, b.s.rounds))
			bodies, media := b.bodies(s.clients, s.batch, s.total, round)
			tocsin, plain, err := b.httpRound(ctx, bodies, media, s.batch)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			ours, theirs = append(ours, tocsin), append(theirs, plain)
		}
		b.report.add(Row{
			Section: "HTTP: token, catalog, redaction and geo on", What: s.name, Ours: ours.median(), Theirs: theirs.median(), Unit: "events/s",
			Against: "net/http that only reads, writes and syncs in groups", Sense: More, Goal: s.goal,
		})
		b.report.note("HTTP, %s: ours %s events/s, bare %s in the rounds; round by round %s. Client and server share the machine's cores.", s.name, list(ours), list(theirs), list(ratios(ours, theirs)))
	}
	return nil
}

func (b *bench) httpRound(ctx context.Context, bodies [][][]byte, media string, batch int) (ours, theirs float64, err error) {
	dir, err := b.folder("http")
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	plain, err := startBare(ctx, dir)
	if err != nil {
		return 0, 0, err
	}
	theirs, err = send(ctx, plain.url, "none", media, bodies)
	if err = errors.Join(err, plain.stop()); err != nil {
		return 0, 0, err
	}
	tocsin, err := startServer(ctx, dir)
	if err != nil {
		return 0, 0, err
	}
	ours, err = send(ctx, tocsin.url, tocsin.token, media, bodies)
	return ours * float64(batch), theirs * float64(batch), errors.Join(err, tocsin.stop())
}

// bodies makes the requests of each client before the clock runs.
func (b *bench) bodies(clients, batch, total, round int) (bodies [][][]byte, media string) {
	media = event.JSONMedia
	if batch > 1 {
		media = event.BatchMedia
	}
	g := NewGenerator(b.seed+uint64(round)*104729+uint64(batch), total, b.s.needleDistance, time.Now())
	bodies = make([][][]byte, clients)
	for range max(total/clients/batch, 1) {
		for c := range clients {
			bodies[c] = append(bodies[c], body(g, batch))
		}
	}
	return bodies, media
}

// body is a request of so many events: as a sender makes them, so without what
// the server adds.
func body(g *Generator, batch int) []byte {
	var text []byte
	for i := range batch {
		e := g.Next()
		e.Kind, e.Severity = "", 0
		switch {
		case batch == 1:
		case i == 0:
			text = append(text, '[')
		default:
			text = append(text, ',')
		}
		text = e.AppendJSON(text)
	}
	if batch > 1 {
		text = append(text, ']')
	}
	return text
}

// send has every client send its requests one after the other over a connection
// that is kept, and gives requests a second.
func send(ctx context.Context, url, token, media string, bodies [][][]byte) (float64, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: len(bodies)}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var all sync.WaitGroup
	failed := make([]error, len(bodies))
	total := 0
	began := time.Now()
	for c := range bodies {
		total += len(bodies[c])
		all.Go(func() {
			for _, text := range bodies[c] {
				if failed[c] = emit(ctx, client, url, token, media, text); failed[c] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return float64(total) / time.Since(began).Seconds(), errors.Join(failed...)
}

func emit(ctx context.Context, client *http.Client, url, token, media string, text []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/events", bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", media)
	r.Header.Set("Authorization", "Bearer "+token)
	got, err := client.Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	if got.StatusCode != http.StatusAccepted {
		said, _ := io.ReadAll(io.LimitReader(got.Body, 500)) // for the message alone
		return fmt.Errorf("%s: %s", got.Status, said)
	}
	_, err = io.Copy(io.Discard, got.Body)
	return err
}
