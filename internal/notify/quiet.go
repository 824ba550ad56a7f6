package notify

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// QuietHours are a time of day in which nothing is told; what happens then is
// told together at its end.
type QuietHours struct {
	Timezone string   `json:"timezone"` // IANA name; empty for UTC
	From     string   `json:"from"`     // 22:00
	To       string   `json:"to"`       // 07:00; before From: the next day
	Days     []string `json:"days"`     // mon to sun on which they begin; none for every day
	Except   string   `json:"except"`   // this severity and above is told at once; empty: nothing is
}

func (q *QuietHours) check() error {
	var problems []error
	if _, err := time.LoadLocation(q.Timezone); err != nil {
		problems = append(problems, event.Invalidf("quiet_hours.timezone: %q is no time zone such as Europe/Berlin", q.Timezone))
	}
	from, err := clock(q.From)
	if err != nil {
		problems = append(problems, event.Invalidf("quiet_hours.from: %w", err))
	}
	to, err := clock(q.To)
	if err != nil {
		problems = append(problems, event.Invalidf("quiet_hours.to: %w", err))
	}
	if err == nil && from == to {
		problems = append(problems, event.Invalidf("quiet_hours.to: is the same as from"))
	}
	for _, d := range q.Days {
		if !slices.Contains(weekdays(), d) {
			problems = append(problems, event.Invalidf("quiet_hours.days: %q is none of %s", d, strings.Join(weekdays(), ", ")))
		}
	}
	if q.Except != "" {
		if _, err := event.ParseSeverity(q.Except); err != nil {
			problems = append(problems, event.Invalidf("quiet_hours.except: %w", err))
		}
	}
	return errors.Join(problems...)
}

func weekdays() []string { return []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} }

// clock reads a time of day as the time since midnight.
func clock(text string) (time.Duration, error) {
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, event.Invalidf("%q is no time of day such as 22:00", text)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

// until is when the quiet time ends in which now lies; false where now is none.
// What a change of the clocks skips or doubles follows time.Date.
func (q *QuietHours) until(now time.Time, s event.Severity) (time.Time, bool) {
	if q.Except != "" {
		if least, err := event.ParseSeverity(q.Except); err == nil && s >= least {
			return time.Time{}, false
		}
	}
	zone, err := time.LoadLocation(q.Timezone)
	if err != nil {
		return time.Time{}, false // refused when it was stored
	}
	from, _ := clock(q.From)
	to, _ := clock(q.To)
	local := now.In(zone)
	for _, back := range []int{0, 1} { // begun today, or yesterday
		day := local.AddDate(0, 0, -back)
		begin, end := at(day, from, 0), at(day, to, 0)
		if to <= from {
			end = at(day, to, 1)
		}
		begins := len(q.Days) == 0 || slices.Contains(q.Days, weekdays()[day.Weekday()])
		if begins && !now.Before(begin) && now.Before(end) {
			return end.UTC(), true
		}
	}
	return time.Time{}, false
}

func at(day time.Time, clock time.Duration, later int) time.Time {
	return time.Date(day.Year(), day.Month(), day.Day()+later, int(clock/time.Hour), int(clock%time.Hour/time.Minute), 0, 0, day.Location())
}
