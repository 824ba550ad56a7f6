package state

import (
	"strings"
	"testing"
)

// Memory is bounded by rows and by bytes; what it lets go is in the table.
func TestRecentIsBounded(t *testing.T) {
	for name, body := range map[string]string{"rows": "", "bytes": strings.Repeat("x", recentBytes/100)} {
		var r recent
		most, asked := 0, 0
		for seq := int64(1); seq <= recentRows+10; seq++ {
			r.add([]outboxRow{{seq, body}})
			most = max(most, r.bytes)
			if len(r.rows) > recentRows || r.bytes > recentBytes {
				t.Fatalf("%s: %d rows of %d bytes are kept", name, len(r.rows), r.bytes)
			}
			if _, known := r.behind(0, 1); !known {
				asked++
			}
		}
		if asked == 0 || (body != "" && most == 0) {
			t.Errorf("%s: the table is never asked", name)
		}
	}
}
