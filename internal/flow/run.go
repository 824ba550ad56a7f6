package flow

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/state"
)

// RunID names a run.
type RunID string

// RunState says how a run stands.
type RunState string

// The states of a run.
const (
	Queued    RunState = "queued"
	Running   RunState = "running"
	Waiting   RunState = "waiting"
	Completed RunState = "completed"
	Faulted   RunState = "faulted"
	Cancelled RunState = "cancelled"
)

// Over reports whether a run in this state has ended.
func (s RunState) Over() bool { return s == Completed || s == Faulted || s == Cancelled }

// Run is one run of a flow.
type Run struct {
	ID       RunID
	State    RunState
	Flow     state.ObjectID
	Trigger  state.ObjectID // 0 where somebody, or another flow, has started it
	Priority int
	Queued   time.Time
	Due      time.Time // when it is looked at next; zero where only an answer helps
	Recovers int       // how often it was under way when the server ended
	Finished time.Time

	Document

	// bare says that nothing but the row is stored of the run: no answer of an
	// effect, and no listening.
	bare bool
}

// Document is what of a run is stored as JSON.
type Document struct {
	FlowName    string `json:"flow_name"`
	Namespace   string `json:"namespace"`
	Hash        string `json:"version"` // of the flow
	TriggerName string `json:"trigger_name,omitempty"`
	// TriggerVersion is that of the trigger when the run was started.
	TriggerVersion int64           `json:"trigger_version,omitempty"`
	Kind           TriggerKind     `json:"kind,omitempty"`
	Slot           *time.Time      `json:"slot,omitempty"` // of the schedule
	Event          *Cause          `json:"event,omitempty"`
	Input          json.RawMessage `json:"input"`
	Started        time.Time       `json:"started_at,omitzero"` // for the first time
	Output         json.RawMessage `json:"output,omitempty"`
	Error          string          `json:"error,omitempty"` // with the task's path
	Fault          *program.Error  `json:"fault,omitempty"`
	Failure        string          `json:"failure,omitempty"` // why the flow could not run at all, with its prefix
	Status         string          `json:"status"`
	StatusMsg      string          `json:"status_msg"`
	Steps          []program.Step  `json:"steps,omitempty"`
	Millis         int64           `json:"duration_ms"` // of the attempt that brought it to its end
	Scopes         []string        `json:"scopes"`
	By             string          `json:"by,omitempty"` // who started it by hand

	// The chain of which it is a part (LPR1 to 3).
	OriginFlow    string `json:"originflowid,omitempty"`
	OriginTrigger string `json:"origintriggerid,omitempty"`
	Correlation   string `json:"correlationid,omitempty"`
	Parent        RunID  `json:"parent,omitempty"`     // the run that waits for this one, or has started it
	ParentKey     string `json:"parent_key,omitempty"` // of its effect; empty where it does not wait
	RetryOf       RunID  `json:"retry_of,omitempty"`
	Emit          Emit   `json:"emit"` // of its trigger, when it was started
	Depth         int32  `json:"depth,omitempty"`
}

// Cause is the event that has started a run.
type Cause struct {
	Sequence event.Seq  `json:"sequence"`
	ID       event.ID   `json:"id"`
	Type     event.Type `json:"type"`
}

// runOf makes the id of the run of a trigger for an event or a slot: whoever
// makes it again makes the same.
func runOf(parts ...string) RunID {
	h := sha256.New()
	for _, p := range parts {
		_, _ = h.Write([]byte(p + "\x00"))
	}
	return RunID(hex.EncodeToString(h.Sum(nil)[:16]))
}

func runOfEvent(trigger state.ObjectID, seq event.Seq) RunID {
	return runOf("event", trigger.String(), strconv.FormatUint(uint64(seq), 10))
}

func runOfSlot(trigger state.ObjectID, slot time.Time) RunID {
	return runOf("slot", trigger.String(), slot.UTC().Format(time.RFC3339))
}

const runColumns = `SELECT id, state, flow, trigger_id, priority, queued, due, recoveries, finished, doc FROM runs `

func scanRun(scan func(...any) error) (r Run, err error) {
	var queued, due, finished int64
	var doc string
	if err := scan(&r.ID, &r.State, &r.Flow, &r.Trigger, &r.Priority, &queued, &due, &r.Recovers, &finished, &doc); err != nil {
		return r, err
	}
	if err := json.Unmarshal([]byte(doc), &r.Document); err != nil {
		return r, fmt.Errorf("stored run %s: %w", r.ID, err)
	}
	r.Queued, r.Due, r.Finished = timeOf(queued), timeOf(due), timeOf(finished)
	return r, nil
}

func timeOf(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// insert stores a new run; false where there is one of its id already.
func (r *Run) insert(tx *state.Tx) (bool, error) {
	doc, err := json.Marshal(&r.Document)
	if err != nil {
		return false, fmt.Errorf("run %s: %w", r.ID, err)
	}
	done, err := tx.ExecContext(tx.Context(), `INSERT INTO runs (id, state, flow, trigger_id, priority, queued, due, recoveries, finished, doc)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9) ON CONFLICT (id) DO NOTHING`,
		r.ID, r.State, int64(r.Flow), int64(r.Trigger), r.Priority, nanos(r.Queued), nanos(r.Due), nanos(r.Finished), string(doc))
	if err != nil {
		return false, fmt.Errorf("insert run %s: %w", r.ID, err)
	}
	n, err := done.RowsAffected()
	return n > 0, err
}

// errOver says that a run was ended in the meantime, such as by somebody who
// cancelled it: nothing else becomes of it.
var errOver = errors.New("the run is over")

// text is the document of a run as it is stored.
func (r *Run) text() (string, error) {
	doc, err := json.Marshal(&r.Document)
	if err != nil {
		return "", fmt.Errorf("run %s: %w", r.ID, err)
	}
	return string(doc), nil
}

// save stores what has become of a run that is not over yet; errOver otherwise. Its
// document was made before: others wait for the transaction.
func (r *Run) save(tx *state.Tx, doc string) error {
	done, err := tx.ExecContext(tx.Context(), `UPDATE runs SET state = $2, due = $3, recoveries = $4, finished = $5, doc = $6 WHERE id = $1 AND finished = 0`,
		r.ID, r.State, nanos(r.Due), r.Recovers, nanos(r.Finished), doc)
	if err != nil {
		return fmt.Errorf("save run %s: %w", r.ID, err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return cmp.Or(err, errOver)
	}
	return nil
}

// findRun reads one run; event.ErrNotFound where there is none.
func findRun(ctx context.Context, q state.Querier, id RunID) (Run, error) {
	r, err := scanRun(q.QueryRowContext(ctx, runColumns+`WHERE id = $1`, id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return r, event.NotFoundf("there is no run %q", id)
	}
	return r, err
}

func runsOf(ctx context.Context, q state.Querier, where string, args ...any) ([]Run, error) {
	found, err := q.QueryContext(ctx, runColumns+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	defer found.Close()
	var all []Run
	for found.Next() {
		r, err := scanRun(found.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, wrap("read runs", found.Err())
}

// answersOf reads what came of the effects of a run.
func answersOf(ctx context.Context, q state.Querier, id RunID) (map[string]program.Answer, error) {
	found, err := q.QueryContext(ctx, `SELECT effect, doc FROM run_answers WHERE run = $1`, id)
	if err != nil {
		return nil, fmt.Errorf("read answers: %w", err)
	}
	defer found.Close()
	answers := map[string]program.Answer{}
	for found.Next() {
		var key, doc string
		if err := found.Scan(&key, &doc); err != nil {
			return nil, fmt.Errorf("read answers: %w", err)
		}
		a, err := decodeAnswer(doc)
		if err != nil {
			return nil, fmt.Errorf("stored answer %s of run %s: %w", key, id, err)
		}
		answers[key] = a
	}
	return answers, wrap("read answers", found.Err())
}

// putAnswer journals what came of an effect. The first answer stays.
func putAnswer(tx *state.Tx, run RunID, key string, a *program.Answer) error {
	doc, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("answer %s of run %s: %w", key, run, err)
	}
	_, err = tx.ExecContext(tx.Context(), `INSERT INTO run_answers (run, effect, doc) VALUES ($1, $2, $3) ON CONFLICT (run, effect) DO NOTHING`, run, key, string(doc))
	return wrap("journal answer "+key, err)
}

// GetRun returns one run.
func (e *Engine) GetRun(ctx context.Context, id RunID) (Run, error) {
	return findRun(ctx, e.o.State.Reader(), id)
}

// RunQuery says which runs are listed; zero values are any.
type RunQuery struct {
	Flow    state.ObjectID
	Trigger state.ObjectID
	State   RunState
	Before  time.Time // queued before it: the Queued of the last of the page before
	Limit   int
}

// ListRuns lists runs, the newest first.
func (e *Engine) ListRuns(ctx context.Context, q RunQuery) ([]Run, error) {
	before := q.Before
	if before.IsZero() {
		before = time.Unix(1<<33, 0)
	}
	return runsOf(ctx, e.o.State.Reader(), `WHERE queued < $1 AND ($2 = 0 OR flow = $2) AND ($3 = 0 OR trigger_id = $3) AND ($4 = '' OR state = $4) ORDER BY queued DESC LIMIT $5`,
		before.UnixNano(), int64(q.Flow), int64(q.Trigger), string(q.State), q.Limit)
}
