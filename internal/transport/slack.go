package transport

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Sends: one message to an incoming webhook. All text is of type plain_text, in
// which Slack reads neither markup nor mentions; the two places that have no
// plain_text are escaped (https://docs.slack.dev/messaging/formatting-message-text).
// Success: any 2xx. A webhook of Discord with /slack behind it works, too.
func init() {
	register(Mode{Name: "slack", Doc: "A message to a channel of Slack, or of a chat that takes Slack's incoming webhooks."},
		slackSettings{Style: "attachments", Timeout: defaultTimeout}, newSlack)
}

type slackSettings struct {
	URL     string          `json:"url" required:"true" secret:"whole" doc:"The incoming webhook's URL, which is its password."`
	Style   string          `json:"style" doc:"attachments, with a bar in the colour of the severity, or blocks."`
	Timeout config.Duration `json:"timeout" doc:"How long an answer may take."`
}

type slack struct {
	env   *Env
	s     slackSettings
	where *url.URL
}

func newSlack(s slackSettings, env *Env) (Transport, error) {
	where, err := destination(s.URL, s.Timeout)
	if err != nil {
		return nil, err
	}
	if s.Style != "attachments" && s.Style != "blocks" {
		return nil, event.Invalidf("settings.style: %q is unknown: use attachments or blocks", cut(s.Style, 16))
	}
	return &slack{env, s, where}, nil
}

// Send implements Transport.
func (t *slack) Send(ctx context.Context, m *Message) (Answer, error) {
	if isDiscordSlack(t.where) {
		return t.env.postJSON(ctx, t.where, discordSlackBody(m), t.s.Timeout)
	}
	return t.env.postJSON(ctx, t.where, slackBody(m, t.s.Style), t.s.Timeout)
}

// Slack's limits, in characters (https://docs.slack.dev/reference/block-kit).
const (
	slackHeader  = 150
	slackSection = 3000
	slackField   = 2000
	slackText    = 3000 // of the notification; 40,000 would be cut, not refused
	slackLink    = 2900 // of the URL inside a section
)

type object map[string]any

func slackPlain(text string, most int) object {
	return object{"type": "plain_text", "text": fit(text, most, plain), "emoji": false}
}

func slackBody(m *Message, style string) object {
	blocks := []object{{"type": "header", "text": slackPlain(m.headline(), slackHeader)}}
	if text := clean(m.Text); strings.TrimSpace(text) != "" {
		blocks = append(blocks, object{"type": "section", "text": slackPlain(text, slackSection)})
	}
	var fields []object
	for _, f := range m.facts() { // ten at most, and there are eight
		fields = append(fields, slackPlain(f.name+": "+f.value, slackField))
	}
	blocks = append(blocks, object{"type": "section", "fields": fields})
	if m.Link != "" && len(m.Link) <= slackLink {
		link := strings.NewReplacer("|", "%7C", " ", "%20").Replace(fit(m.Link, slackLink, slackEscape))
		blocks = append(blocks, object{"type": "section", "text": object{"type": "mrkdwn", "text": "<" + link + "|Open the event>"}})
	}
	blocks = append(blocks, object{"type": "context", "elements": []object{slackPlain(m.brand(), slackHeader)}})
	summary := fit(m.headline(), slackText, slackEscape)
	if style == "blocks" {
		return object{"text": summary, "blocks": blocks, "unfurl_links": false, "unfurl_media": false}
	}
	return object{
		"attachments":  []object{{"color": fmt.Sprintf("#%06X", m.colour()), "fallback": summary, "blocks": blocks}},
		"unfurl_links": false, "unfurl_media": false,
	}
}

// slackEscape writes the three characters that begin a mention or a link in
// Slack as entities.
func slackEscape(r rune) string {
	switch r {
	case '&':
		return "&amp;"
	case '<':
		return "&lt;"
	case '>':
		return "&gt;"
	default:
		return string(r)
	}
}
