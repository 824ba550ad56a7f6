package web

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
)

// A merge patch changes what it names, a PUT everything; unknown members are
// refused by name, also those in other letters.
func TestMerge(t *testing.T) {
	type thing struct {
		Name string     `json:"name"`
		Tags []string   `json:"tags"`
		At   *time.Time `json:"at"`
	}
	at := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	was := thing{"old", []string{"a", "b"}, &at}
	tests := []struct {
		method, body string
		want         thing
		refused      bool
	}{
		{"PATCH", `{}`, was, false},
		{"PATCH", `{"name":"new"}`, thing{"new", was.Tags, &at}, false},
		{"PATCH", `{"tags":["c"]}`, thing{"old", []string{"c"}, &at}, false},
		{"PATCH", `{"tags":[null]}`, thing{"old", []string{""}, &at}, false},
		{"PATCH", `{"tags":[]}`, thing{"old", []string{}, &at}, false},
		{"PATCH", `{"name":null,"tags":null,"at":null}`, thing{"old", was.Tags, nil}, false},
		{"PUT", `{"name":"new"}`, thing{Name: "new"}, false},
		{"PATCH", `{"nane":"x"}`, thing{}, true},
		{"PATCH", `{"NAME":"x"}`, thing{}, true},
		{"PATCH", `{"name":7}`, thing{}, true},
		{"PATCH", `[]`, thing{}, true},
	}
	for _, tt := range tests {
		got, err := merge(httptest.NewRequest(tt.method, "/", http.NoBody), []byte(tt.body), was)
		if tt.refused {
			if !errors.Is(err, event.ErrInvalid) {
				t.Errorf("%s %s: %+v, %v", tt.method, tt.body, got, err)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s %s: %v %s", tt.method, tt.body, err, diff)
		}
	}
	if diff := cmp.Diff([]string{"a", "b"}, was.Tags); diff != "" {
		t.Errorf("the old list is changed: %s", diff)
	}
}
