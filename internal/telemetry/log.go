// Package telemetry is what Tocsin tells about itself: a structured log without
// secrets, and metrics.
//
// It promises: no value under a secret name and nothing that looks like a
// credential reaches the log; metric names and labels are a contract that a
// golden test guards, and no label takes its values from strangers without a
// bound.
package telemetry

import (
	"context"
	"io"
	"log/slog"

	"github.com/tocsin-events/tocsin/internal/redact"
)

// NewLogger writes JSON lines to w from a level on; levels are debug, info, warn
// and error.
func NewLogger(w io.Writer, level string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	return slog.New(redacting{slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})})
}

// redacting masks secrets before a handler sees them.
type redacting struct{ next slog.Handler }

func (h redacting) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

func (h redacting) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, redact.Text(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(cleanAttr(a))
		return true
	})
	return h.next.Handle(ctx, clean)
}

func (h redacting) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = cleanAttr(a)
	}
	return redacting{h.next.WithAttrs(clean)}
}

func (h redacting) WithGroup(name string) slog.Handler { return redacting{h.next.WithGroup(name)} }

func cleanAttr(a slog.Attr) slog.Attr {
	if redact.Key(a.Key) {
		return slog.String(a.Key, redact.Mask)
	}
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return slog.String(a.Key, redact.Text(v.String()))
	case slog.KindGroup:
		group := v.Group()
		clean := make([]slog.Attr, len(group))
		for i, g := range group {
			clean[i] = cleanAttr(g)
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(clean...)}
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			return slog.String(a.Key, redact.Text(err.Error()))
		}
	}
	return a
}
