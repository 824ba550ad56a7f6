package bench

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

const page = 50 // events on a page

// question is one kind of search, asked in several variants.
type question struct {
	name  string
	goal  float64 // how many times quicker than SQLite
	slow  bool    // SQLite reads every event for it
	asked []asked
}

// asked is one variant: the same condition in both languages.
type asked struct {
	filter string
	where  string
	args   []any

	compiled *filter.Filter
}

// corpus is what is searched.
type corpus struct {
	small, large *journal.Journal
	rival        *rival
	end          time.Time
	smallDir     string
	largeDir     string
}

// searches builds the corpus and measures everything that reads it.
func (b *bench) searches(ctx context.Context) error {
	dir, err := b.folder("search")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // nothing that anybody needs
	c := corpus{end: time.Now().Truncate(time.Hour), smallDir: filepath.Join(dir, "small"), largeDir: filepath.Join(dir, "large")}
	if err := b.build(ctx, dir, &c); err != nil {
		return err
	}
	if err := b.ask(ctx, &c); err != nil {
		return err
	}
	if err := b.volumes(ctx, &c); err != nil {
		return err
	}
	if err := c.large.Close(); err != nil {
		return err
	}
	if err := b.opened(ctx, c.largeDir); err != nil {
		return err
	}
	return b.removal(ctx, &c)
}

// build fills the two journals and the database. The newest events stay in the
// journals' memory, as they do in a server.
func (b *bench) build(ctx context.Context, dir string, c *corpus) (err error) {
	b.o.Say(fmt.Sprintf("search: %d events into SQLite", b.s.small))
	if c.rival, err = openRival(ctx, filepath.Join(dir, "sqlite"), false); err != nil {
		return err
	}
	if err := c.rival.fill(ctx, b.generator(c, b.s.small), b.s.small); err != nil {
		return err
	}
	b.o.Say(fmt.Sprintf("search: %d events into a journal", b.s.small))
	if c.small, err = fillJournal(ctx, c.smallDir, b.generator(c, b.s.small), b.s.small); err != nil {
		return err
	}
	b.diskRow(ctx, c)
	b.o.Say(fmt.Sprintf("search: %d events into a large journal", b.s.large))
	c.large, err = fillJournal(ctx, c.largeDir, b.generator(c, b.s.large), b.s.large)
	return err
}

func (b *bench) generator(c *corpus, total int) *Generator {
	return NewGenerator(b.seed, total, b.s.needleDistance, c.end)
}

// fillJournal records everything that a generator makes, in its order, so that
// sequences are the same as in SQLite.
func fillJournal(ctx context.Context, dir string, g *Generator, total int) (*journal.Journal, error) {
	j, err := journal.Open(ctx, journal.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	events := make([]event.Event, 0, 2000)
	for done := 0; done < total; done += len(events) {
		events = events[:0]
		for range min(total-done, cap(events)) {
			events = append(events, g.Next())
		}
		if _, err := j.Append(ctx, events); err != nil {
			return nil, err
		}
	}
	for j.Stats().Tables > 1 { // until the sealer has nothing to do
		time.Sleep(10 * time.Millisecond)
	}
	return j, nil
}

// questions are those of the goals. Values are drawn for each variant.
func (b *bench) questions(g *Generator) ([]question, error) {
	r := rand.New(rand.NewPCG(b.seed, 2)) //nolint:gosec // a benchmark's needles are no secrets
	absent := make([]string, needles)
	for i := range absent {
		absent[i] = word(r, 12)
	}
	all := []question{
		{"rare substring", 100, true, variants(func(i int) asked { return textAsked(g.Texts()[i]) })},
		{"absent substring", 300, true, variants(func(i int) asked { return textAsked(absent[i]) })},
		{"data.path == value", 80, true, variants(func(i int) asked {
			v := g.Releases()[i]
			return asked{filter: "data.release == " + strconv.Quote(v), where: "json_extract(body, '$.data.release') = ?", args: []any{v}}
		})},
		{"three types", 3, false, variants(func(int) asked {
			t := []any{string(typeName(r.IntN(Types))), string(typeName(r.IntN(Types))), string(typeName(r.IntN(Types)))}
			return asked{filter: fmt.Sprintf("type in [%q, %q, %q]", t...), where: "type IN (?, ?, ?)", args: t}
		})},
		{"newest", 3, false, variants(func(int) asked { return asked{where: "1"} })},
		{"severity and actor: errors of a frequent actor", 1, false, variants(func(i int) asked { return actorAsked(i, event.Error) })},
		{"severity and actor: warnings of a rarer actor", 1, false, variants(func(int) asked { return actorAsked(20+r.IntN(500), event.Warn) })},
		{"type and common substring", 0.2, false, variants(func(int) asked {
			t := string(typeName(r.IntN(20)))
			return asked{filter: fmt.Sprintf("type == %q && text(%q)", t, commonText), where: "type = ? AND body LIKE ?", args: []any{t, "%" + commonText + "%"}}
		})},
		{"rare address", 0.2, false, variants(func(int) asked {
			a := addressName(Addresses/2 + r.IntN(Addresses/2))
			return asked{filter: fmt.Sprintf("clientip == %q", a), where: "ip = ?", args: []any{a}}
		})},
	}
	env, err := filter.NewEnv()
	if err != nil {
		return nil, err
	}
	for i := range all {
		for k := range all[i].asked {
			a := &all[i].asked[k]
			if a.compiled, err = env.Compile(a.filter); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func variants(one func(i int) asked) []asked {
	all := make([]asked, needles)
	for i := range all {
		all[i] = one(i)
	}
	return all
}

func textAsked(text string) asked {
	return asked{filter: fmt.Sprintf("text(%q)", text), where: "body LIKE ?", args: []any{"%" + text + "%"}}
}

func actorAsked(rank int, least event.Severity) asked {
	a := actorName(rank)
	return asked{
		filter: fmt.Sprintf("severity >= %s && actor.id == %q", least, a), where: "severity >= ? AND actor = ?", args: []any{int64(least), a},
	}
}

func (a *asked) query() *segment.Query {
	q := &segment.Query{Limit: page}
	if !a.compiled.All() {
		q.Plan, q.Match = a.compiled.Plan(), a.compiled.MatchEvent
	}
	return q
}

// ask compares the answers of both sides, and then how long they take.
func (b *bench) ask(ctx context.Context, c *corpus) error {
	all, err := b.questions(b.generator(c, b.s.small))
	if err != nil {
		return err
	}
	for i := range all {
		q := &all[i]
		b.o.Say("search: " + q.name)
		small, large, rival, hits, err := b.time(ctx, c, q)
		if err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
		b.report.add(Row{
			Section: fmt.Sprintf("Search: a page of 50 among %s events, median", figure(float64(b.s.small))), What: q.name,
			Ours: small.median(), Theirs: rival.median(), Unit: "ms", Against: fmt.Sprintf("SQLite, the same events (%.1f hits)", hits), Sense: Less, Goal: q.goal,
		})
		b.report.add(b.grownRow(q.name, small, large))
	}
	return nil
}

// grownRow compares the large journal with the small one.
func (b *bench) grownRow(name string, small, large samples) Row {
	return Row{
		Section: fmt.Sprintf("Growth: p99 at %s events against %s", figure(float64(b.s.large)), figure(float64(b.s.small))), What: name,
		Ours: large.at(0.99), Theirs: small.at(0.99), Unit: "ms", Against: "the smaller journal", Sense: AtMost, Goal: 4,
	}
}

// time asks every variant, of all three in turns.
func (b *bench) time(ctx context.Context, c *corpus, q *question) (small, large, rival samples, hits float64, err error) {
	ask := make([]func() ([]int64, error), len(q.asked))
	for i := range q.asked {
		a := &q.asked[i]
		statement, err := c.rival.db.PrepareContext(ctx, "SELECT seq, body FROM events WHERE "+a.where+" ORDER BY seq DESC LIMIT "+strconv.Itoa(page)) //nolint:gosec // constant conditions of this package
		if err != nil {
			return nil, nil, nil, 0, err
		}
		defer func() { _ = statement.Close() }() // it only frees memory
		ask[i] = func() ([]int64, error) { return readRows(ctx, statement, a.args) }
	}
	total := 0
	for n := range b.s.searches {
		i := n % len(q.asked)
		query := q.asked[i].query()
		if !q.slow || n < b.s.slow {
			began := time.Now()
			want, err := ask[i]()
			if err != nil {
				return nil, nil, nil, 0, err
			}
			rival.took(began)
			if err := agree(ctx, c.small, query, want); err != nil {
				return nil, nil, nil, 0, fmt.Errorf("%s: %w", q.asked[i].filter, err)
			}
			total += len(want)
		}
		for _, side := range []struct {
			of *journal.Journal
			to *samples
		}{{c.small, &small}, {c.large, &large}} {
			began := time.Now()
			if _, err := side.of.Search(ctx, query); err != nil {
				return nil, nil, nil, 0, err
			}
			side.to.took(began)
		}
	}
	return small, large, rival, float64(total) / float64(len(rival)), nil
}

// readRows reads the whole answer, bodies included.
func readRows(ctx context.Context, statement *sql.Stmt, args []any) ([]int64, error) {
	rows, err := statement.QueryContext(ctx, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	seqs := make([]int64, 0, page)
	for rows.Next() {
		var seq int64
		var body sql.RawBytes
		if err := rows.Scan(&seq, &body); err != nil {
			return nil, err
		}
		seqs = append(seqs, seq)
	}
	return seqs, rows.Err()
}

// agree fails unless a search finds exactly the events that SQLite found.
func agree(ctx context.Context, j *journal.Journal, q *segment.Query, want []int64) error {
	found, err := j.Search(ctx, q)
	if err != nil {
		return err
	}
	got := make([]int64, len(found.Hits))
	for i := range found.Hits {
		got[i] = int64(found.Hits[i].Seq)
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("the journal and SQLite do not agree: %s and %s", brief(got), brief(want))
	}
	return nil
}

func brief(seqs []int64) string {
	texts := make([]string, 0, 6)
	for _, s := range seqs[:min(len(seqs), 5)] {
		texts = append(texts, strconv.FormatInt(s, 10))
	}
	return fmt.Sprintf("%d events (%s …)", len(seqs), strings.Join(texts, ", "))
}
