package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// message is one server-sent event.
type message struct{ event, id, data string }

// stream is an open tail.
type stream struct {
	t     *testing.T
	lines *bufio.Reader
	close func()
}

// tail opens a live tail; last is its Last-Event-ID.
func (s *server) tail(query, last string) *stream {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*patience)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/v1/events/tail?"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // closed with the stream
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" ||
		!strings.Contains(resp.Header.Get("Cache-Control"), "no-transform") || resp.Header.Get("X-Accel-Buffering") != "no" {
		s.t.Fatalf("tail: %s %v", resp.Status, resp.Header)
	}
	st := &stream{s.t, bufio.NewReader(resp.Body), func() { cancel(); resp.Body.Close() }}
	s.t.Cleanup(st.close)
	return st
}

// ends reads on until the stream ends.
func (st *stream) ends() {
	for ok := true; ok; {
		_, ok = st.next()
	}
}

// next reads one message; ok is false when the stream has ended.
func (st *stream) next() (m message, ok bool) {
	for {
		line, err := st.lines.ReadString('\n')
		if err != nil {
			return m, false
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			m.id = value
		case "event":
			m.event = value
		case "data":
			m.data = value
		case "":
			return m, true
		default:
			st.t.Errorf("unknown line %q in the stream", line)
		}
	}
}

// data reads on to the next message that is no heartbeat.
func (st *stream) data() message {
	st.t.Helper()
	for {
		m, ok := st.next()
		if !ok {
			st.t.Fatal("the stream has ended")
		}
		if m.data != "" {
			return m
		}
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	s := start(t)
	all := s.tail("", "")
	first, _ := all.next()
	if last := text(parse[object](t, s.get("/v1/journal").body)["last"]); first.data != "" || padded(first.id) != last {
		t.Errorf("the first heartbeat is %+v, want the id %s", first, last)
	}
	some := s.tail("filter="+url.QueryEscape(`data.n >= 3`)+"&view=audit", "")
	if m, _ := some.next(); m.id == "" || m.data != "" {
		t.Errorf("a filtered tail begins with %+v", m)
	}
	s.emit(batchMedia, batch(events("t", 5)...))
	for i := range 5 {
		m := all.data()
		e := parse[object](t, []byte(m.data))
		if text(e["id"]) != fmt.Sprintf("t-%d", i) || padded(m.id) != e["sequence"] || m.event != "" {
			t.Errorf("message %d is %+v", i, m)
		}
	}
	for _, pk := range []string{"t-3", "t-4"} {
		if m := some.data(); parse[object](t, []byte(m.data))["pk"] != pk {
			t.Errorf("filtered: %+v, want %s", m, pk)
		}
	}
	// From the beginning, by header and by parameter.
	for _, st := range []*stream{s.tail("", "0"), s.tail("after=0", "")} {
		if m := st.data(); m.id != "1" {
			t.Errorf("from the beginning: %+v", m)
		}
	}
	// An id from the future, as after a restored backup, waits for what is new.
	future := s.tail("", "999999")
	if m, _ := future.next(); m.id == "999999" {
		t.Errorf("a heartbeat repeats an id from the future: %+v", m)
	}
	s.emit(eventMedia, anEvent("new"))
	if e := parse[object](t, []byte(future.data().data)); e["id"] != "new" {
		t.Errorf("behind an id from the future: %v", e)
	}
	// Transient and unwanted events move the heartbeat's id on; a shutdown ends
	// every stream.
	s.stop()
	for {
		if _, ok := all.next(); !ok {
			break
		}
	}
}

func padded(id string) string {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return id
	}
	return fmt.Sprintf("%020d", n)
}

// TestTailResumes breaks the connection again and again under load: over all
// connections every event comes once.
func TestTailResumes(t *testing.T) {
	t.Parallel()
	s := start(t)
	const writers, batches, size = 4, 40, 5
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for b := range batches {
				if r := s.post("/v1/events", batchMedia, batch(events(fmt.Sprintf("w%d-b%d", w, b), size)...)); r.status != http.StatusAccepted {
					t.Errorf("%d %s", r.status, clip(r.body))
				}
			}
		})
	}
	filter := "filter=" + url.QueryEscape(`source == "urn:test" && data.n != 2`)
	seen := map[string]bool{}
	last, before := "0", uint64(0)
	const want = writers * batches * (size - 1)
	for connection := 0; len(seen) < want; connection++ {
		st := s.tail(filter, last)
		for range 1 + 37*connection%91 {
			m, ok := st.next()
			if !ok {
				t.Fatalf("the stream ended with %d of %d events", len(seen), want)
			}
			last = m.id
			if m.data == "" {
				continue
			}
			e := parse[object](t, []byte(m.data))
			id := text(e["id"])
			if seen[id] {
				t.Fatalf("%s came twice", id)
			}
			seen[id] = true
			seq, err := strconv.ParseUint(m.id, 10, 64)
			if err != nil || seq <= before {
				t.Fatalf("id %s behind %d: %v", m.id, before, err)
			}
			before = seq
			if len(seen) == want {
				break
			}
		}
		st.close()
	}
	all.Wait()
}

// TestFollow is the same through tocsin events --follow, over a restart of the
// server.
func TestFollow(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.emit(eventMedia, anEvent("before"))
	out := follow(t, s, `source == "urn:test"`)
	eventually(t, "the old event", func() bool { return strings.Contains(out.String(), `"id":"before"`) })
	s.emit(eventMedia, anEvent("after"))
	eventually(t, "the new event", func() bool { return strings.Contains(out.String(), `"id":"after"`) })
	s.stop()
	s = startOn(t, s.data)
	s.emit(eventMedia, anEvent("again"))
	eventually(t, "the event behind the restart", func() bool { return strings.Contains(out.String(), `"id":"again"`) })
	for _, id := range []string{"before", "after", "again"} {
		if n := strings.Count(out.String(), `"id":"`+id+`"`); n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

// TestTailEnds: what somebody reads live ends with the session or token that
// opened it, and with its owner's rights.
func TestTailEnds(t *testing.T) {
	t.Parallel()
	s := start(t)
	id := s.user("ann", "admin")
	open := func(token string) *stream {
		t.Helper()
		as := *s
		as.token = token
		return as.tail("", "")
	}
	session := s.session("ann", password)
	made := s.send("POST", "/v1/tokens", session, `{"name":"ann's","scopes":["read","admin"]}`).want(t, 201)
	key := text(s.send("POST", "/v1/users/"+id+"/api-key", "", "").want(t, 200)["api_key"])
	own, stays := open(s.token), open(s.session("admin", password))
	for _, end := range []struct {
		what, token string
		do          func()
	}{
		{"signing out", session, func() { s.send("POST", "/v1/auth/logout", session, "").want(t, 204) }},
		{"fewer rights", text(made["token"]), func() {
			s.send("POST", "/v1/roles", "", `{"name":"sender","scopes":["emit"]}`).want(t, 201)
			s.send("PATCH", "/v1/users/"+id, "", `{"access_level":"sender"}`).want(t, 200)
		}},
		{"more rights again", "", func() { s.send("PATCH", "/v1/users/"+id, "", `{"access_level":"admin"}`).want(t, 200) }},
		{"another key", key, func() { key = text(s.send("POST", "/v1/users/"+id+"/api-key", "", "").want(t, 200)["api_key"]) }},
		{"suspension", text(made["token"]), func() { s.send("POST", "/v1/users/"+id+"/suspend", "", "").want(t, 200) }},
	} {
		if end.token == "" {
			end.do()
			continue
		}
		st := open(end.token)
		end.do()
		st.ends() // else the test's time runs out
		t.Log(end.what)
	}
	s.emit(eventMedia, anEvent("after"))
	for _, st := range []*stream{own, stays} {
		for m := st.data(); !strings.Contains(m.data, `"id":"after"`); m = st.data() {
		}
	}
}
