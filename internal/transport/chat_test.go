package transport

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/tocsin-events/tocsin/internal/event"
)

// chatMessages are a plain one, and some that are hostile or too long.
func chatMessages(t *testing.T) map[string]*Message {
	t.Helper()
	all := map[string]*Message{"plain": newMessage(t)}
	for name, text := range map[string]string{
		"hostile": hostile, "long": strings.Repeat("Ab😀& <", 4000), "long escapes": strings.Repeat("@*&", 9000), "empty": "", "emoji": strings.Repeat("😀", 3001),
	} {
		m := newMessage(t)
		m.Text, m.Title, m.Rule, m.Brand.Name = text, text, text, text
		m.Event.Subject, m.Event.Host, m.Event.AuthName, m.Event.ClientIP = text, text, text, text
		m.Event.Type = event.Type(text)
		all[name] = m
	}
	all["resolved"] = newMessage(t)
	all["resolved"].Resolved = true
	return all
}

// texts visits every string of a JSON value with the name it stands under.
func texts(name string, v any, visit func(name, text string)) {
	switch v := v.(type) {
	case string:
		visit(name, v)
	case []any:
		for _, item := range v {
			texts(name, item, visit)
		}
	case map[string]any:
		for key, item := range v {
			texts(key, item, visit)
		}
	}
}

func length(s string) int { return units(s) }

// checkSlack refuses what Slack does (reference of Block Kit): unknown blocks,
// empty or long texts, more than ten fields.
func checkSlack(t *testing.T, name string, body map[string]any) {
	t.Helper()
	blocks, _ := body["blocks"].([]any)
	if list, ok := body["attachments"].([]any); ok {
		a := list[0].(map[string]any)
		blocks = a["blocks"].([]any)
		if !regexp.MustCompile(`^#[0-9A-F]{6}$`).MatchString(a["color"].(string)) {
			t.Errorf("%s: colour %v", name, a["color"])
		}
	} else if body["text"] == "" {
		t.Errorf("%s: no text for the notification", name)
	}
	if len(blocks) == 0 || len(blocks) > 50 {
		t.Errorf("%s: %d blocks", name, len(blocks))
	}
	textOf := func(v any, most int) {
		o := v.(map[string]any)
		text := o["text"].(string)
		if text == "" || length(text) > most || o["type"] != "plain_text" && o["type"] != "mrkdwn" {
			t.Errorf("%s: a text of %d characters, most are %d: %.40q", name, length(text), most, text)
		}
		if o["type"] == "mrkdwn" && (strings.Count(text, "<") != 1 || !strings.HasPrefix(text, "<https://tocsin.example.com/events/42|")) {
			t.Errorf("%s: markup %q", name, text)
		}
	}
	for _, b := range blocks {
		b := b.(map[string]any)
		switch b["type"] {
		case "header":
			textOf(b["text"], 150)
		case "section":
			if b["text"] != nil {
				textOf(b["text"], 3000)
			}
			fields, _ := b["fields"].([]any)
			if len(fields) > 10 || len(fields) == 0 && b["text"] == nil {
				t.Errorf("%s: %d fields", name, len(fields))
			}
			for _, f := range fields {
				textOf(f, 2000)
			}
		case "context":
			for _, e := range b["elements"].([]any) {
				textOf(e, 2000)
			}
		default:
			t.Errorf("%s: block %v", name, b["type"])
		}
	}
}

func TestSlack(t *testing.T) {
	s, env := newSink(t), newEnv(t)
	for _, style := range []string{"attachments", "blocks"} {
		for name, m := range chatMessages(t) {
			if _, err := open(t, env, "slack", object{"url": s.URL + "/services/T/B/x", "style": style}).Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			var body map[string]any
			if err := json.Unmarshal(s.body, &body); err != nil {
				t.Fatal(err)
			}
			checkSlack(t, name+" "+style, body)
			texts("", body, func(where, text string) { // text and fallback are read as markup
				if strings.ContainsAny(text, "\r\x00\x1b\u202e") {
					t.Errorf("%s: %s holds control characters: %q", name, where, text)
				}
			})
			fallback, _ := body["text"].(string)
			if list, ok := body["attachments"].([]any); ok {
				fallback = list[0].(map[string]any)["fallback"].(string)
			}
			if strings.ContainsAny(fallback, "<>") || strings.Contains(fallback, "&a…") {
				t.Errorf("%s: the fallback can mention somebody: %q", name, fallback)
			}
			if name == "long" && !strings.Contains(string(s.body), ellipsis) {
				t.Errorf("%s: cut without a sign", name)
			}
		}
	}
}

// markup is what still works as Discord's after escapes are taken away.
func markup(text string) string {
	return regexp.MustCompile(`\\[\\*_~`+"`"+`|>#\-+\[\]()<:]`).ReplaceAllString(text, "")
}

func checkDiscordText(t *testing.T, name, where, text string, most int) {
	t.Helper()
	if length(text) > most {
		t.Errorf("%s: %s has %d characters, most are %d", name, where, length(text), most)
	}
	left := strings.TrimSuffix(markup(text), ellipsis)
	if strings.ContainsAny(left, "\\*_~`|><[](:") || strings.Contains(left, "@e") || strings.Contains(left, "@U") || strings.ContainsAny(left, "\r\x00\u202e") {
		t.Errorf("%s: %s has markup: %q", name, where, left[:min(len(left), 200)])
	}
}

func TestDiscord(t *testing.T) {
	s, env := newSink(t), newEnv(t)
	for name, m := range chatMessages(t) {
		if _, err := open(t, env, "discord", object{"url": s.URL + "/api/webhooks/1/x?thread_id=5"}).Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if s.path != "/api/webhooks/1/x?thread_id=5&wait=true" {
			t.Errorf("%s: %s", name, s.path)
		}
		var body struct {
			Content string
			Embeds  []struct {
				Title, Description, URL, Timestamp string
				Color                              int
				Footer                             struct{ Text string }
				Fields                             []struct{ Name, Value string }
			}
			AllowedMentions struct{ Parse *[]string } `json:"allowed_mentions"`
		}
		if err := json.Unmarshal(s.body, &body); err != nil || len(body.Embeds) != 1 || body.AllowedMentions.Parse == nil || len(*body.AllowedMentions.Parse) != 0 {
			t.Fatalf("%s: %v: %s", name, err, s.body)
		}
		e := body.Embeds[0]
		total := 0
		check := func(where, text string, most int) {
			checkDiscordText(t, name, where, text, most)
			if where != "content" {
				total += length(text)
			}
		}
		check("content", body.Content, 2000)
		check("title", e.Title, 256)
		check("description", e.Description, 4096)
		check("footer", e.Footer.Text, 2048)
		for _, f := range e.Fields {
			check("name", f.Name, 256)
			check("value", f.Value, 1024)
			if f.Name == "" || f.Value == "" {
				t.Errorf("%s: an empty field", name)
			}
		}
		if total > 6000 || len(e.Fields) > 25 || e.Color < 0 || e.Color > 0xFFFFFF || e.URL != "https://tocsin.example.com/events/42" || body.Content == "" {
			t.Errorf("%s: %d characters, %d fields, colour %x, link %s", name, total, len(e.Fields), e.Color, e.URL)
		}
	}
}

// Discord's door for Slack's old form, from both modes.
func TestDiscordSlack(t *testing.T) {
	s, env := newSink(t), newEnv(t)
	for name, m := range chatMessages(t) {
		if _, err := open(t, env, "discord", object{"url": s.URL + "/api/webhooks/1/x/slack"}).Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		var body struct {
			Text, Blocks any
			Attachments  []struct {
				Color, Title, Text, Footer string
				Fields                     []struct{ Title, Value string }
			}
		}
		if err := json.Unmarshal(s.body, &body); err != nil || len(body.Attachments) != 1 || body.Text != nil || body.Blocks != nil || s.path != "/api/webhooks/1/x/slack" {
			t.Fatalf("%s: %v, %s: %s", name, err, s.path, s.body)
		}
		a := body.Attachments[0]
		checkDiscordText(t, name, "title", a.Title, 256)
		checkDiscordText(t, name, "text", a.Text, 4096)
		for _, f := range a.Fields {
			checkDiscordText(t, name, f.Title, f.Value, 1024)
		}
	}
	tr := open(t, env, "slack", object{"url": "https://discord.com/api/webhooks/1/x/slack"}).(*slack)
	if !isDiscordSlack(tr.where) {
		t.Error("the mode slack does not know Discord")
	}
}

func TestColours(t *testing.T) {
	seen := map[int]bool{}
	m := newMessage(t)
	for _, m.Severity = range event.Severities() {
		seen[m.colour()] = true
	}
	m.Resolved = true
	seen[m.colour()] = true
	if len(seen) != 6 {
		t.Errorf("%d colours for five severities and the end of it", len(seen))
	}
}

func TestFit(t *testing.T) {
	for _, tt := range []struct {
		text, want string
		most       int
	}{
		{"abc", "abc", 3}, {"abcd", "ab…", 3}, {"😀😀", "😀😀", 4}, {"😀😀", "😀…", 3}, {"😀", "…", 1}, {"a", "", 0}, {"", "", 5}, {"&&", "…", 5}, {"&&", "&amp;…", 6}, {"&", "&amp;", 5},
	} {
		if got := fit(tt.text, tt.most, slackEscape); got != tt.want || units(got) > tt.most {
			t.Errorf("fit(%q, %d) = %q, want %q", tt.text, tt.most, got, tt.want)
		}
	}
}
