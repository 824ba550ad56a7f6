package state

import (
	"encoding/base64"
	"strings"
	"testing"
)

// What is sealed opens only where it was put.
func TestSeal(t *testing.T) {
	s := Key{make([]byte, 32)}.Sealer("test")
	sealed := s.Close("a", "plain")
	if got, err := s.Open("a", sealed); err != nil || got != "plain" {
		t.Errorf("open = %q, %v", got, err)
	}
	if sealed == s.Close("a", "plain") || strings.Contains(sealed, base64.RawStdEncoding.EncodeToString([]byte("plain"))) {
		t.Error("sealed twice, it looks the same, or shows what is in it")
	}
	other := Key{[]byte(strings.Repeat("k", 32))}.Sealer("test")
	for what, err := range map[string]error{
		"another purpose": second(s.Open("b", sealed)), "another key": second(other.Open("a", sealed)),
		"another use": second(Key{make([]byte, 32)}.Sealer("else").Open("a", sealed)),
		"damage":      second(s.Open("a", sealed[:len(sealed)-4]+"AAAA")), "nonsense": second(s.Open("a", "?")),
	} {
		if err == nil {
			t.Errorf("%s opens it", what)
		}
	}
}

func second(_ string, err error) error { return err }
