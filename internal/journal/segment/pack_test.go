package segment

import (
	"bytes"
	"testing"
)

// A megabyte of hexadecimal digits is taken in pieces: a run that were measured
// to its end for each piece would cost quadratic time.
func TestPackLongHex(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	taken := 0
	for at := 0; at < len(text); {
		from, to := hexRun(text[at:])
		if to == from {
			break
		}
		if to-from > 2*maxBytes {
			t.Fatalf("a run of %d digits", to-from)
		}
		taken += to - from
		at += to
	}
	if taken < len(text)-2*maxBytes {
		t.Errorf("only %d of %d digits were found", taken, len(text))
	}
}
