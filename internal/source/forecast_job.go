package source

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	keptRuns = 64
	unknown  = -1
)

// job is what is known of one backup job.
type job struct {
	host, name string
	window     time.Duration // how long it may take; 0 where that is not said
	runs       []run         // by time, the last keptRuns
	first      time.Time     // run that is known
	weeks      [4]longest    // longest gaps of the last weeks, which outlive runs
	free       float64       // bytes on the target; unknown where it was not measured

	judged  bool
	outlook []prediction // of the runs; overdue and space are judged at each look
	space   space
}

// run is one backup.
type run struct {
	at       time.Time // its end
	ok       bool
	duration float64 // seconds
	bytes    float64 // unknown where it does not say
	free     float64 // bytes on the target after it; the same
	fault    string  // what kind of error, empty when ok
}

type longest struct {
	week int64
	gap  time.Duration
}

func (j *job) last() run { return j.runs[len(j.runs)-1] }

// add takes a run, which may come late.
func (j *job) add(r run) {
	i, _ := slices.BinarySearchFunc(j.runs, r, func(a, b run) int { return a.at.Compare(b.at) })
	for i < len(j.runs) && j.runs[i].at.Equal(r.at) {
		i++
	}
	if len(j.runs) == keptRuns && i == 0 {
		return // older than all that is kept
	}
	j.runs = slices.Insert(j.runs, i, r)
	if len(j.runs) > keptRuns {
		j.runs = slices.Delete(j.runs, 0, 1)
		i--
	}
	if j.first.IsZero() || r.at.Before(j.first) {
		j.first = r.at
	}
	if i > 0 {
		week := r.at.Unix() / (7 * 86400)
		if w := &j.weeks[week%int64(len(j.weeks))]; w.week != week {
			*w = longest{week, r.at.Sub(j.runs[i-1].at)}
		} else {
			w.gap = max(w.gap, r.at.Sub(j.runs[i-1].at))
		}
	}
	if r.free != unknown && i == len(j.runs)-1 {
		j.free = r.free
	}
	j.judged = false
}

// measured takes the free space of the target. The last run is given the first
// measurement after it.
func (j *job) measured(free int64) {
	j.free = float64(max(free, 0))
	if last := &j.runs[len(j.runs)-1]; last.free == unknown {
		last.free, j.judged = j.free, false
	}
}

// gap is the usual time between two runs, and the longest of the last weeks.
func (j *job) gap() (usual, most time.Duration) {
	gaps := make([]float64, 0, len(j.runs))
	for i := 1; i < len(j.runs); i++ {
		gaps = append(gaps, float64(j.runs[i].at.Sub(j.runs[i-1].at)))
	}
	newest := j.last().at.Unix() / (7 * 86400)
	for _, w := range j.weeks {
		if newest-w.week < int64(len(j.weeks)) {
			most = max(most, w.gap)
		}
	}
	return time.Duration(median(gaps)), most
}

func (j *job) successesSince(at time.Time) (n int) {
	for _, r := range slices.Backward(j.runs) {
		if !r.at.After(at) {
			return n
		}
		if r.ok {
			n++
		}
	}
	return n
}

// fault makes errors comparable: what differs from run to run, such as numbers
// and temporary names, is left out.
func fault(text string, status int) string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	words = slices.DeleteFunc(words, func(w string) bool { return strings.ContainsFunc(w, unicode.IsDigit) })
	return strconv.Itoa(status) + " " + strings.Join(words[:min(len(words), 8)], " ")
}
