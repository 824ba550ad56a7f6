package event_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tocsin-events/tocsin/internal/event"
)

func TestException(t *testing.T) {
	x := event.NewException(fmt.Errorf("save: %w", errors.New("disk full")), 0)
	if x.Type != "*fmt.wrapError" || x.Message != "save: disk full" || x.Cause == nil || x.Cause.Message != "disk full" || x.Cause.Cause != nil {
		t.Errorf("NewException = %+v", x)
	}
	if len(x.Frames) == 0 || !strings.HasSuffix(x.Frames[0].Function, "TestException") || x.Frames[0].Line == 0 {
		t.Errorf("frames begin with %+v, want the caller", x.Frames[:min(1, len(x.Frames))])
	}
}

func explode() { panic("boom") }

func TestPanic(t *testing.T) {
	var x event.Exception
	func() {
		defer func() { x = event.NewPanic(recover()) }()
		explode()
	}()
	if x.Type != "panic" || x.Message != "boom" {
		t.Errorf("NewPanic = %+v", x)
	}
	for _, f := range x.Frames {
		if strings.HasSuffix(f.Function, "explode") {
			return
		}
	}
	t.Errorf("the stack does not name the function that panicked: %+v", x.Frames)
}
