package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/tocsin-events/tocsin/internal/event"
)

// inParallel runs the parts of one source until ctx ends, or until the first of
// them fails, and returns when all have ended.
func inParallel(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	var once sync.Once
	var first error
	for _, part := range parts {
		all.Go(func() {
			if err := guarded(ctx, part); err != nil && ctx.Err() == nil {
				once.Do(func() { first = err })
				cancel()
			}
		})
	}
	all.Wait()
	return first
}

// guarded runs a part of a source in a goroutine of its own: a panic there would
// otherwise end the server, because only the source's first goroutine is guarded.
func guarded(ctx context.Context, part func(context.Context) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{event.NewPanic(r)}
		}
	}()
	return part(ctx)
}

// madeID is the id of what may be met again, made of all that tells it from
// others, so that the journal knows it.
func madeID(parts ...string) event.ID {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return event.ID(hex.EncodeToString(h.Sum(nil)[:16]))
}

// recall decodes what is remembered under a key; to stays as it is where that is
// nothing, or can't be read.
func recall[T any](ctx context.Context, env *Env, key string, to *T) error {
	text, err := env.Memory.Load(ctx, key)
	if err != nil || text == "" {
		return err
	}
	var read T
	if json.Unmarshal([]byte(text), &read) == nil {
		*to = read
	}
	return nil
}

// remember stores what recall reads.
func remember(ctx context.Context, env *Env, key string, what any) error {
	text, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("remember %s: %w", key, err)
	}
	return env.Memory.Store(ctx, key, string(text))
}

// shorten cuts text that is too long for an event, at a whole character.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	cut := most
	for cut > 0 && text[cut]&0xC0 == 0x80 {
		cut--
	}
	return text[:cut] + "…"
}
