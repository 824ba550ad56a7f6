package source

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/tail"
)

// Delivery: the lines that Postfix writes into the mail log when a message goes
// into the hold queue (by a milter, by header or access rules, by postsuper -h);
// recipients and size are asked of postqueue. rspamd and Stalwart send what they
// quarantine themselves: sources rspamd and stalwart.
// Makes: mail_quarantined, for each message once: what rspamd or Stalwart has told
// of the same queue id within an hour is not told again, and they know more. For
// that a line waits for a few seconds.
// Leaves out: what is released again; messages that were rejected.
// Reference: postfix.org, QSHAPE_README ("hold" queue), postqueue(1), postsuper(1).
func init() {
	register("mail_quarantined", "Messages that Postfix puts on hold.", quarantineOptions{
		Enabled: true, Logs: []string{"/var/log/mail.log", "/var/log/maillog"}, Postqueue: "postqueue", Grace: config.Duration(3 * time.Second),
	}, newQuarantine)
}

type quarantineOptions struct {
	Enabled       bool            `yaml:"enabled" doc:"Whether the mail log is read for messages on hold."`
	Logs          []string        `yaml:"logs" doc:"Mail logs, with wildcards; rotated ones are not to be named."`
	Journal       bool            `yaml:"journal" doc:"Whether systemd's journal is read in place of logs, where Postfix writes into no file."`
	Postqueue     string          `yaml:"postqueue" doc:"Program that lists the queue (postqueue -j); empty to ask none."`
	PostfixConfig string          `yaml:"postfix_config" doc:"Configuration folder of the Postfix instance to ask; empty for the usual one."`
	Grace         config.Duration `yaml:"grace" doc:"How long a line waits for the same message to be told by rspamd or Stalwart; at most 1m."`
}

const (
	// sameMessage is how long a queue id means the same message: Postfix uses its
	// short ids again.
	sameMessage = time.Hour
	mostHeld    = 1000 // lines that wait
	mostNoted   = 5000 // messages of which something was read before they are put on hold
	mailBurst   = 50   // messages that are told one by one in a floodWindow
	floodWindow = time.Minute
)

type quarantine struct {
	quarantineOptions
	queue   func(ctx context.Context, ids []string) (map[string]queued, error)
	journal journal // nil where logs are read

	mu    sync.Mutex // guards all below
	state quarantineState
	dirty bool
	saved time.Time
	notes fifoMap[string]    // Message-ID by queue id
	told  fifoMap[time.Time] // by queue id: when others, or we, told of it
	seen  event.Seq          // up to where the journal was read
}

// quarantineState is what is remembered over a restart.
type quarantineState struct {
	Place string     `json:"place"`
	Held  []heldMail `json:"held,omitempty"`
}

// heldMail is a line that waits to be told.
type heldMail struct {
	ID        event.ID  `json:"id"`
	At        time.Time `json:"at"`
	Read      time.Time `json:"read"`
	Queue     string    `json:"queue,omitempty"`
	MessageID string    `json:"message_id,omitempty"`
	Sender    string    `json:"sender,omitempty"`
	Recipient string    `json:"recipient,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Client    string    `json:"client,omitempty"`
}

func newQuarantine(o quarantineOptions) (Source, error) {
	if o.Grace < 0 || time.Duration(o.Grace) > time.Minute {
		return nil, event.Invalidf("grace: %s is not within 0s and 1m", o.Grace)
	}
	if err := checkPatterns("logs", o.Logs); err != nil {
		return nil, err
	}
	q := &quarantine{quarantineOptions: o}
	q.queue = q.postqueue
	if o.Journal {
		q.journal = &journalctl{}
	}
	return q, nil
}

// Run implements Source.
func (q *quarantine) Run(ctx context.Context, env *Env) error {
	if len(q.Logs) == 0 && q.journal == nil {
		return idle(ctx, env, "no mail log to read: name it in sources.mail_quarantined.logs")
	}
	place, err := q.load(ctx, env)
	if err != nil {
		return err
	}
	f := newFlood(floodWindow, mailBurst)
	if err := f.load(ctx, env); err != nil {
		return err
	}
	err = inParallel(ctx,
		func(ctx context.Context) error { return f.run(ctx, env) },
		func(ctx context.Context) error { return q.wait(ctx, env, f) },
		func(ctx context.Context) error {
			return mailLines(ctx, env, "mail_quarantined", q.Logs, q.journal, place, func(ctx context.Context, lines []tail.Line, place string) error {
				return q.give(ctx, env, f, lines, place)
			})
		})
	q.mu.Lock()
	defer q.mu.Unlock()
	return cmp.Or(err, q.save(context.WithoutCancel(ctx), env, true))
}

// load takes up where an earlier run has stopped. What can't be read is forgotten.
func (q *quarantine) load(ctx context.Context, env *Env) (place string, err error) {
	text, err := env.Memory.Load(ctx, "state")
	if err != nil {
		return "", err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.state, q.notes, q.told, q.seen = quarantineState{}, fifoMap[string]{most: mostNoted}, fifoMap[time.Time]{most: mostNoted}, 0
	if json.Unmarshal([]byte(text), &q.state) != nil {
		q.state = quarantineState{}
	}
	return q.state.Place, nil
}

// give reads lines of the log.
func (q *quarantine) give(ctx context.Context, env *Env, f *flood, lines []tail.Line, place string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for _, l := range lines {
		p, ok := parsePostfix(l.Text, now)
		if !ok {
			continue
		}
		q.read(&p, l.Text, now)
	}
	q.state.Place, q.dirty = place, true
	if over := len(q.state.Held) - mostHeld; over > 0 { // a flood: they are folded anyway
		if err := q.tell(ctx, env, f, over); err != nil {
			return err
		}
	}
	return q.save(ctx, env, len(lines) == 0)
}

// read takes one line.
func (q *quarantine) read(p *postfixLine, line string, now time.Time) {
	if id, ok := strings.CutPrefix(p.text, "message-id="); ok && p.queue != "" {
		q.notes.put(p.queue, strings.Trim(plainText(id, 256), "<>"))
		return
	}
	h, ok := p.hold()
	if !ok {
		return
	}
	sum := sha256.Sum256([]byte("mail_quarantined\n" + line))
	q.state.Held = append(q.state.Held, heldMail{
		ID: event.ID(hex.EncodeToString(sum[:16])), At: p.at.UTC(), Read: now, Queue: h.queue, MessageID: q.notes.get(h.queue),
		Sender: plainText(h.sender, 256), Recipient: plainText(h.recipient, 256), Subject: plainText(h.subject, 256),
		Reason: plainText(h.reason, 256), Client: plainText(h.client, 256),
	})
}

// wait tells of lines that have waited long enough.
func (q *quarantine) wait(ctx context.Context, env *Env, f *flood) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := q.due(ctx, env, f, time.Now()); err != nil {
			return err
		}
	}
}

func (q *quarantine) due(ctx context.Context, env *Env, f *flood, now time.Time) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < len(q.state.Held) && now.Sub(q.state.Held[n].Read).Abs() >= time.Duration(q.Grace) { // Abs: a clock that was set back holds nothing up
		n++
	}
	if n == 0 {
		return q.save(ctx, env, false)
	}
	return q.tell(ctx, env, f, n)
}

// tell tells of the first n lines that wait.
func (q *quarantine) tell(ctx context.Context, env *Env, f *flood, n int) error {
	if err := q.readJournal(ctx, env); err != nil {
		return err
	}
	var ids []string
	for _, h := range q.state.Held[:n] {
		if h.Queue != "" && !q.known(&h) {
			ids = append(ids, h.Queue)
		}
	}
	queue, err := q.queue(ctx, ids)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	env.Problem(err) // what the log says is told all the same
	for i := range n {
		h := &q.state.Held[i]
		if q.known(h) {
			continue
		}
		h.MessageID = firstText(h.MessageID, q.notes.get(h.Queue)) // headers are logged in the order in which they stand
		if err := f.take(ctx, env, time.Now(), h.finding(queue)); err != nil {
			return err // the source starts anew from what is stored; ids are the same then
		}
		if h.Queue != "" {
			q.told.put(h.Queue, h.At)
		}
	}
	q.state.Held, q.dirty = slices.Delete(q.state.Held, 0, n), true
	return q.save(ctx, env, false)
}

// known tells whether the message was told already.
func (q *quarantine) known(h *heldMail) bool {
	at := q.told.get(h.Queue)
	return h.Queue != "" && !at.IsZero() && h.At.Sub(at).Abs() < sameMessage
}

// readJournal learns which messages were told, by others, too.
func (q *quarantine) readJournal(ctx context.Context, env *Env) error {
	if env.History == nil {
		return nil
	}
	seen, err := env.History.Each(ctx, []event.Type{"mail_quarantined"}, q.seen, time.Now().Add(-2*sameMessage), func(e *event.Event) error {
		var d struct {
			Queue string `json:"queue_id"`
		}
		if json.Unmarshal(e.Data, &d) == nil && d.Queue != "" {
			q.told.put(d.Queue, e.Time)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	q.seen = seen
	return nil
}

// save keeps what is read, and what waits, together; at most once a second,
// unless it must be now. Lines that are read again behind a crash give the same ids.
func (q *quarantine) save(ctx context.Context, env *Env, must bool) error {
	now := time.Now()
	if !must && (!q.dirty || now.Sub(q.saved).Abs() < time.Second) {
		return nil
	}
	text, err := json.Marshal(&q.state)
	if err != nil {
		return fmt.Errorf("mail_quarantined: %w", err)
	}
	if err := env.Memory.Store(ctx, "state", string(text)); err != nil {
		return err
	}
	q.dirty, q.saved = false, now
	return nil
}

// finding is the event of a line, with what the queue says.
func (h *heldMail) finding(queue map[string]queued) finding {
	data := map[string]any{"mta": "postfix", "reason": h.Reason}
	set := func(field, text string) {
		if text != "" {
			data[field] = text
		}
	}
	set("queue_id", h.Queue)
	set("message_id", h.MessageID)
	set("sender", h.Sender)
	set("subject", h.Subject)
	set("client_ip", clientAddress(h.Client))
	if h.Recipient != "" {
		data["recipients"] = []string{h.Recipient}
	}
	if m, ok := queue[h.Queue]; ok {
		set("sender", m.Sender)
		if m.Recipients != nil {
			data["recipients"] = m.Recipients
		}
		data["size"] = m.Size
	}
	subject := "mail/hold"
	if h.Queue != "" {
		subject = "message/" + h.Queue
	}
	return finding{producer: "mail", t: "mail_quarantined", severity: event.Notice, subject: subject, id: h.ID, at: h.At, data: data}
}
