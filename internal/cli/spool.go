package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/spool"
)

// spoolDir is where events wait while no server can be reached.
func (c *cli) spoolDir() string {
	if dir := c.env("TOCSIN_SPOOL"); dir != "" {
		return dir
	}
	return spool.Dir(c.data)
}

// deliverTime is how long run waits for a server before it spools.
const deliverTime = 10 * time.Second

// deliver sends an event, with those that wait; what can't be sent waits on
// disk. It never changes the exit code of the command that was run.
func (c *cli) deliver(ctx context.Context, e *event.Event) {
	ctx, cancel := context.WithTimeout(ctx, deliverTime)
	defer cancel()
	k, err := c.client()
	if err == nil {
		c.sendSpool(ctx, k)
		_, err = k.send(ctx, event.JSONMedia, bytes.NewReader(e.AppendJSON(nil)))
	}
	if err == nil {
		return
	}
	spoolErr := spool.Put(c.spoolDir(), e)
	if spoolErr == nil {
		_, _ = fmt.Fprintf(c.err, "tocsin: the event waits in %s: %v\n", c.spoolDir(), err)
		return
	}
	_, _ = fmt.Fprintf(c.err, "tocsin: the event is lost: %v\n", errors.Join(err, spoolErr))
}

// sendSpool sends what waits, quietly: what still can't be sent goes on waiting.
func (c *cli) sendSpool(ctx context.Context, k *client) {
	err := spool.Each(c.spoolDir(), func(e *event.Event) error {
		_, err := k.send(ctx, event.JSONMedia, bytes.NewReader(e.AppendJSON(nil)))
		if err != nil && !errors.Is(err, event.ErrUnavailable) && !errors.Is(err, event.ErrDenied) {
			_, _ = fmt.Fprintf(c.err, "tocsin: a waiting event is refused: %v\n", err)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, event.ErrUnavailable) {
		_, _ = fmt.Fprintf(c.err, "tocsin: events wait in %s: %v\n", c.spoolDir(), err)
	}
}
