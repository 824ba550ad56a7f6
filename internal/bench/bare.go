package bench

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

// bare is the least that a durable receiver can do: read the body, and answer
// once it is written and synced, together with those that came at the same time.
type bare struct {
	url    string
	http   *http.Server
	file   vfs.File
	bodies chan *bareRequest
	ended  chan error
}

type bareRequest struct {
	body []byte
	done chan error
}

func startBare(ctx context.Context, dir string) (*bare, error) {
	file, err := vfs.OS{}.Create(filepath.Join(dir, "bare"))
	if err != nil {
		return nil, err
	}
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	b := &bare{url: "http://" + l.Addr().String(), file: file, bodies: make(chan *bareRequest, 1024), ended: make(chan error, 2)}
	b.http = &http.Server{Handler: http.HandlerFunc(b.take), ReadHeaderTimeout: 10 * time.Second}
	go func() { b.ended <- b.http.Serve(l) }()
	go func() { b.ended <- b.write() }()
	return b, nil
}

func (b *bare) take(w http.ResponseWriter, r *http.Request) {
	body := make([]byte, max(r.ContentLength, 0))
	if _, err := io.ReadFull(r.Body, body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	q := &bareRequest{body, make(chan error, 1)}
	b.bodies <- q
	if <-q.done != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// write is the goroutine that makes groups durable.
func (b *bare) write() error {
	var group []*bareRequest
	var buf []byte
	at := int64(0)
	for first := range b.bodies {
		group, buf = append(group[:0], first), append(buf[:0], first.body...)
		for more := true; more && len(buf) < 8<<20; {
			select {
			case next, open := <-b.bodies:
				if more = open; open {
					group, buf = append(group, next), append(buf, next.body...)
				}
			default:
				more = false
			}
		}
		n, err := b.file.WriteAt(buf, at)
		if err == nil {
			err = b.file.Sync()
		}
		at += int64(n)
		for _, q := range group {
			q.done <- err
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bare) stop() error {
	err := b.http.Close()
	if served := <-b.ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	close(b.bodies)
	return errors.Join(err, <-b.ended, b.file.Close())
}
