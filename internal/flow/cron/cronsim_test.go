package cron_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow/cron"
)

// A trial is a question to both.
type trial struct {
	Spec  string `json:"spec"`
	Zone  string `json:"zone"`
	After int64  `json:"after"`
	Count int    `json:"count"`
}

// TestAgainstCronsim holds 20,000 random schedules in ten zones, most of them near a
// transition, against PyPI's cronsim, which follows Debian's cron.
func TestAgainstCronsim(t *testing.T) {
	python := filepath.Join("..", "..", "..", ".cache", "venv", "bin", "python")
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import cronsim").CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("cronsim is missing, scripts/tools.sh installs it: %v: %s", err, out)
		}
		t.Skipf("cronsim is missing, scripts/tools.sh installs it: %v", err)
	}
	trials := trials(t, 20_000)
	theirs := ask(t, python, trials)
	reasons := map[string]int{}
	agreed := 0
	for i, q := range trials {
		ours, refused := answer(t, q)
		if theirs[i] == nil && refused || theirs[i] != nil && !refused && slices.Equal(ours, *theirs[i]) {
			agreed++
			continue
		}
		reason := explain(t, q, ours, refused, theirs[i])
		reasons[reason]++
		t.Logf("%s: %q in %s after %s: ours %v, theirs %v", reason, q.Spec, q.Zone, show(t, q, q.After), shown(t, q, ours), shownPtr(t, q, theirs[i]))
		if reason == "unexplained" {
			t.Errorf("%q in %s after %d: ours %v, theirs %v", q.Spec, q.Zone, q.After, ours, theirs[i])
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		t.Logf("%d × %s", reasons[reason], reason)
	}
	t.Logf("%d of %d agree (%.2f %%)", agreed, len(trials), 100*float64(agreed)/float64(len(trials)))
	if agreed < len(trials)*99/100 {
		t.Errorf("only %d of %d agree", agreed, len(trials))
	}
}

func answer(t *testing.T, q trial) (times []int64, refused bool) {
	t.Helper()
	s, err := cron.Parse(q.Spec, zone(t, q.Zone))
	if err != nil {
		return nil, true
	}
	times = []int64{}
	at := time.Unix(q.After, 0)
	for range q.Count {
		if at = s.Next(at); at.IsZero() {
			break
		}
		times = append(times, at.Unix())
	}
	return times, false
}

func ask(t *testing.T, python string, trials []trial) []*[]int64 {
	t.Helper()
	var questions bytes.Buffer
	for _, q := range trials {
		if err := json.NewEncoder(&questions).Encode(q); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "oracle.py"))
	cmd.Stdin, cmd.Stderr = &questions, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []*[]int64
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		var times *[]int64
		if err := json.Unmarshal(lines.Bytes(), &times); err != nil {
			t.Fatal(err)
		}
		all = append(all, times)
	}
	if len(all) != len(trials) {
		t.Fatalf("%d answers to %d questions", len(all), len(trials))
	}
	return all
}

// explain says why the two may differ.
func explain(t *testing.T, q trial, ours []int64, refused bool, theirs *[]int64) string {
	t.Helper()
	switch {
	case refused != (theirs == nil):
		return explainRefusal(q, refused, theirs)
	case refused:
		return "unexplained"
	}
	loc := zone(t, q.Zone)
	if slices.Equal(ours, slices.Compact(slices.Clone(*theirs))[:min(len(ours), len(slices.Compact(slices.Clone(*theirs))))]) {
		return "several slots in one gap: ours come due once, theirs several times at the same second"
	}
	if repeated(time.Unix(q.After, 0).In(loc)) {
		return "asked within an hour that the clock shows twice"
	}
	if ofOne(q.Spec) {
		return "a range of one value with a step: in ours (and Debian's cron) it is that value, theirs goes on to the end of the field"
	}
	if q.Zone == "Australia/Lord_Howe" {
		return "the clock is set by half an hour: theirs goes on by whole hours, and misses slots"
	}
	if len(strings.Fields(q.Spec)) == 6 {
		return "a fixed time with seconds: cronsim lets these follow real time, ours come due once"
	}
	for i := range *theirs {
		if i > 0 && (*theirs)[i] <= (*theirs)[i-1] || i == 0 && (*theirs)[i] <= q.After {
			return "theirs goes back in time"
		}
	}
	if setAtMidnight(time.Unix(q.After, 0).In(loc), time.Unix(slices.Max(append(slices.Clone(*theirs), ours...)), 0)) {
		return "the clock is set at midnight: theirs looks for a day's beginning that is not there"
	}
	return "unexplained"
}

// setAtMidnight says whether the clock is set between 23:00 and 01:59 of some day
// between two times.
func setAtMidnight(from, to time.Time) bool {
	for {
		_, end := from.ZoneBounds()
		if end.IsZero() || end.After(to) {
			return false
		}
		if hour := end.Hour(); hour < 2 || hour > 22 {
			return true
		}
		from = end.In(from.Location())
	}
}

// ofOne says whether the specification has a term such as 5-5/2.
func ofOne(spec string) bool {
	for term := range strings.FieldsFuncSeq(spec, func(r rune) bool { return r == ' ' || r == ',' }) {
		span, _, stepped := strings.Cut(term, "/")
		if low, high, ranged := strings.Cut(span, "-"); stepped && ranged && low == high {
			return true
		}
	}
	return false
}

func explainRefusal(q trial, refused bool, theirs *[]int64) string {
	if refused && theirs != nil && len(*theirs) < q.Count {
		return "never, or not often, comes due: ours refuses it at once"
	}
	return "unexplained"
}

// repeated says whether the clock shows this time twice, or the one just before or
// after it.
func repeated(at time.Time) bool {
	for _, d := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		_, before := at.Add(d).Zone()
		_, now := at.Zone()
		if now < before && d < 0 || now > before && d > 0 {
			return true
		}
	}
	return false
}

func show(t *testing.T, q trial, unix int64) string {
	t.Helper()
	return time.Unix(unix, 0).In(zone(t, q.Zone)).Format("2006-01-02T15:04:05-0700")
}

func shown(t *testing.T, q trial, all []int64) []string {
	t.Helper()
	texts := []string{}
	for _, unix := range all {
		texts = append(texts, show(t, q, unix))
	}
	return texts
}

func shownPtr(t *testing.T, q trial, all *[]int64) []string {
	t.Helper()
	if all == nil {
		return []string{"refused"}
	}
	return shown(t, q, *all)
}

// trials makes the same questions each time.
func trials(t *testing.T, n int) []trial {
	t.Helper()
	r := rand.New(rand.NewPCG(2026, 11))
	zones := []string{
		"UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Tehran",
		"Pacific/Apia", "America/St_Johns", "Asia/Kathmandu",
	}
	all := make([]trial, n)
	for i := range all {
		name := zones[r.IntN(len(zones))]
		at := time.Date(2005+r.IntN(25), time.Month(1+r.IntN(12)), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), 0, zone(t, name))
		if _, end := at.ZoneBounds(); !end.IsZero() && r.IntN(3) > 0 {
			at = end.Add(time.Duration(r.IntN(2*48*3600)-48*3600) * time.Second)
		}
		all[i] = trial{randomSpec(r), name, at.Unix(), 3}
	}
	return all
}

func randomSpec(r *rand.Rand) string {
	fields := []string{
		randomField(r, 0, 59, nil), randomField(r, 0, 23, nil), randomField(r, 1, 31, []string{"L", "LW"}),
		randomField(r, 1, 12, []string{"jan", "JUN", "Dec"}), randomField(r, 0, 7, []string{"sun", "MON", "Fri", "5L", "2#1", "sat#5"}),
	}
	if r.IntN(12) == 0 {
		fields = append([]string{randomField(r, 0, 59, nil)}, fields...)
	}
	if r.IntN(2) == 0 { // most schedules are for each day
		fields[len(fields)-3], fields[len(fields)-2], fields[len(fields)-1] = "*", "*", "*"
	}
	return strings.Join(fields, " ")
}

func randomField(r *rand.Rand, low, high int, special []string) string {
	v := func() int { return low + r.IntN(high-low+1) }
	switch r.IntN(10) {
	case 0, 1, 2:
		return "*"
	case 3, 4, 5:
		return strconv.Itoa(v())
	case 6:
		return fmt.Sprintf("*/%d", 1+r.IntN(high))
	case 7:
		a, b := v(), v()
		return fmt.Sprintf("%d-%d", min(a, b), max(a, b))
	case 8:
		a, b := v(), v()
		if a == b && r.IntN(4) > 0 { // few of those: see ofOne
			return strconv.Itoa(a)
		}
		return fmt.Sprintf("%d,%d-%d/%d", v(), min(a, b), max(a, b), 1+r.IntN(5))
	}
	if len(special) > 0 {
		return special[r.IntN(len(special))]
	}
	return fmt.Sprintf("%d/%d", v(), 1+r.IntN(high))
}
