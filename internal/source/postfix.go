package source

import (
	"strings"
	"time"
)

// What Postfix writes into its log, as far as the mail sources read it. Postfix
// replaces what is not printable, so that one line is one record; what clients
// chose stands in it nevertheless, and proves nothing but itself.

// postfixLine is a line of Postfix.
type postfixLine struct {
	at     time.Time
	daemon string // smtpd, cleanup, postsuper …
	queue  string // queue id; empty, or NOQUEUE, where there is none
	text   string // what follows
}

// parsePostfix reads a line of a mail log: "Nov 21 08:46:57 mx postfix/cleanup[1482]:
// 0F2FD9D86EA: milter-hold: …", also with the time of RFC 3339.
func parsePostfix(line string, now time.Time) (p postfixLine, ok bool) {
	at, rest, ok := logTime(line, now)
	if !ok {
		return p, false
	}
	_, rest, _ = strings.Cut(rest, " ") // the host
	tag, text, ok := strings.Cut(rest, "]: ")
	if !ok || strings.ContainsRune(tag, ' ') {
		return p, false
	}
	name, _, ok := strings.Cut(tag, "[")
	slash := strings.LastIndexByte(name, '/')
	if !ok || slash < 0 {
		return p, false
	}
	return postfixRecord(at, name[slash+1:], text), true
}

// postfixRecord reads what a daemon of Postfix has said.
func postfixRecord(at time.Time, daemon, text string) postfixLine {
	p := postfixLine{at: at, daemon: daemon, text: text}
	if id, rest, ok := strings.Cut(text, ": "); ok && (id == noQueue || isQueueID(id)) {
		p.queue, p.text = id, rest
	}
	return p
}

const noQueue = "NOQUEUE"

// isQueueID knows both of Postfix's forms: hexadecimal, and long ones of letters
// and digits (enable_long_queue_ids).
func isQueueID(s string) bool {
	if len(s) < 5 || len(s) > 30 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return strings.ContainsAny(s, "0123456789")
}

// logTime reads the time at the beginning of a line of syslog: that of RFC 3339, or
// that of RFC 3164, which has no year and no zone.
func logTime(line string, now time.Time) (at time.Time, rest string, ok bool) {
	if word, rest, ok := strings.Cut(line, " "); ok && len(word) >= len("2006-01-02T15:04:05Z") {
		if at, err := time.Parse(time.RFC3339, word); err == nil {
			return at, rest, true
		}
	}
	const form = "Jan _2 15:04:05"
	if len(line) <= len(form) || line[len(form)] != ' ' {
		return at, "", false
	}
	at, err := time.ParseInLocation(form, line[:len(form)], time.Local)
	if err != nil {
		return at, "", false
	}
	// The year in which the line is neither of the future nor of long ago.
	year := func(y int) time.Time {
		return time.Date(y, at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), 0, time.Local)
	}
	here := now.In(time.Local)
	if full := year(here.Year()); full.Before(now.Add(24 * time.Hour)) {
		return full, line[len(form)+1:], true
	}
	return year(here.Year() - 1), line[len(form)+1:], true
}

// postfixHold is what a line says about a message that was put on hold.
type postfixHold struct {
	queue, sender, recipient, subject, reason, client string
}

// hold reads the line of a message that goes into the hold queue.
func (p *postfixLine) hold() (h postfixHold, ok bool) {
	if p.queue == "" {
		return h, false
	}
	h = postfixHold{queue: p.queue}
	if p.queue == noQueue {
		h.queue = ""
	}
	if p.daemon == "postsuper" {
		h.reason = "put on hold by an administrator"
		return h, p.text == "placed on hold"
	}
	kind, rest, ok := strings.Cut(p.text, ": ")
	if !ok || (kind != "hold" && kind != "milter-hold") {
		return h, false
	}
	// The sender's own words stand before: the last "; from=<" is Postfix's.
	what, envelope := rest, ""
	if i := strings.LastIndex(rest, "; from=<"); i >= 0 {
		what, envelope = rest[:i], rest[i+len("; from=<"):]
	}
	if end := strings.Index(envelope, "> "); end >= 0 {
		h.sender = envelope[:end]
		if after, ok := strings.CutPrefix(envelope[end+2:], "to=<"); ok {
			h.recipient, _, _ = strings.Cut(after, ">")
		}
	} else {
		h.sender, _, _ = strings.Cut(envelope, ">")
	}
	if i := strings.LastIndex(what, " from "); i >= 0 {
		client, said, _ := strings.Cut(what[i+len(" from "):], ": ")
		h.client, what = client, what[:i]
		if said != "" {
			what = said
		}
	}
	h.subject, _ = strings.CutPrefix(what, "header Subject: ")
	if h.subject == what {
		h.subject = ""
	}
	h.reason = what
	// The text of a rule stands at the end.
	if i := strings.LastIndex(envelope, ">: "); i >= 0 && kind == "hold" {
		h.reason = envelope[i+len(">: "):]
	}
	return h, true
}

// throttled is the client of a line that says that it goes beyond a rate limit
// of anvil(8), and which limit that is: "warning: Message delivery request rate
// limit exceeded: 9 from localhost[127.0.0.1] for service smtp".
func (p *postfixLine) throttled() (client, limit string, ok bool) {
	const words = " limit exceeded: "
	warning, ok := strings.CutPrefix(p.text, "warning: ")
	if !ok || (p.daemon != "smtpd" && p.daemon != "postscreen") {
		return "", "", false
	}
	limit, rest, ok := strings.Cut(warning, words)
	if !ok || !strings.HasSuffix(limit, "rate") && !strings.HasSuffix(limit, "concurrency") {
		return "", "", false
	}
	count, rest, ok := strings.Cut(rest, " from ")
	if !ok || strings.Trim(count, "0123456789") != "" {
		return "", "", false
	}
	client, _, _ = strings.Cut(rest, " for service ")
	return clientAddress(client), limit, client != ""
}

// clientAddress is the address in name[address].
func clientAddress(client string) string {
	if open := strings.LastIndexByte(client, '['); open >= 0 && strings.HasSuffix(client, "]") {
		return client[open+1 : len(client)-1]
	}
	return client
}
