package transport

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
)

// Sends: one message with an embed in the colour of the severity, which may
// mention nobody (https://docs.discord.com/developers/resources/webhook). Where
// the URL ends with /slack, the same in the form that Discord takes there.
// Success: any 2xx; Discord is asked to wait until the message is there.
func init() {
	register(Mode{Name: "discord", Doc: "A message to a channel of Discord."}, discordSettings{Timeout: defaultTimeout}, newDiscord)
}

type discordSettings struct {
	URL     string          `json:"url" required:"true" secret:"whole" doc:"The webhook's URL, which is its password."`
	Timeout config.Duration `json:"timeout" doc:"How long an answer may take."`
}

type discord struct {
	env     *Env
	timeout config.Duration
	where   *url.URL
}

func newDiscord(s discordSettings, env *Env) (Transport, error) {
	where, err := destination(s.URL, s.Timeout)
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(where.Path, "/slack") {
		q := where.Query()
		q.Set("wait", "true") // else a message that is thrown away is answered by 204, too
		where.RawQuery = q.Encode()
	}
	return &discord{env, s.Timeout, where}, nil
}

// Send implements Transport.
func (t *discord) Send(ctx context.Context, m *Message) (Answer, error) {
	if strings.HasSuffix(t.where.Path, "/slack") {
		return t.env.postJSON(ctx, t.where, discordSlackBody(m), t.timeout)
	}
	return t.env.postJSON(ctx, t.where, discordBody(m), t.timeout)
}

// Discord's limits, in characters.
const (
	discordContent     = 2000
	discordTitle       = 256
	discordDescription = 4096
	discordName        = 256
	discordValue       = 1024
	discordFooter      = 2048
	discordEmbed       = 6000 // of all these together
)

func discordBody(m *Message) object {
	left := discordEmbed
	take := func(text string, most int) string {
		text = fit(text, min(most, left), discordEscape)
		left -= units(text)
		return text
	}
	embed := object{"title": take(m.headline(), discordTitle), "color": m.colour(), "timestamp": m.Event.Time.UTC().Format(time.RFC3339)}
	embed["footer"] = object{"text": take(m.brand(), discordFooter/8)}
	var fields []object
	for _, f := range m.facts() {
		fields = append(fields, object{"name": take(f.name, discordName), "value": take(f.value, discordValue/4), "inline": true})
	}
	embed["fields"] = fields
	embed["description"] = take(clean(m.Text), discordDescription)
	if m.Link != "" {
		embed["url"] = m.Link
	}
	return object{
		"content": fit(m.headline(), discordContent, discordEscape), "embeds": []object{embed},
		"allowed_mentions": object{"parse": []string{}},
	}
}

// isDiscordSlack recognises Discord's own door for what is made for Slack.
func isDiscordSlack(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	return strings.HasSuffix(u.Path, "/slack") && (host == "discord.com" || host == "discordapp.com" || strings.HasSuffix(host, ".discord.com") || strings.HasSuffix(host, ".discordapp.com"))
}

// discordSlackBody is a message in Slack's old form, without blocks, which
// Discord does not read. What stands in an attachment mentions nobody.
func discordSlackBody(m *Message) object {
	var fields []object
	for _, f := range m.facts() {
		fields = append(fields, object{"title": f.name, "value": fit(f.value, discordValue/4, discordEscape), "short": true})
	}
	attachment := object{
		"color": fmt.Sprintf("#%06X", m.colour()), "fallback": fit(m.headline(), discordTitle, discordEscape), "title": fit(m.headline(), discordTitle, discordEscape),
		"text": fit(clean(m.Text), discordDescription/2, discordEscape), "fields": fields, "footer": fit(m.brand(), discordFooter/8, discordEscape),
		"ts": m.Event.Time.Unix(), "mrkdwn_in": []string{},
	}
	if m.Link != "" {
		attachment["title_link"] = m.Link
	}
	return object{"attachments": []object{attachment}}
}

// discordEscape takes Discord's markup its meaning. A mention is taken apart by a
// space without width, because the old form knows no allowed_mentions.
func discordEscape(r rune) string {
	switch {
	case r == '@':
		return "@\u200b"
	case strings.ContainsRune("\\*_~`|>#-+[]()<:", r):
		return `\` + string(r)
	default:
		return string(r)
	}
}
