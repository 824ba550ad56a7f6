package cron

import "time"

// A Schedule never changes and may be used by many goroutines.
type Schedule struct {
	spec string
	loc  *time.Location

	every time.Duration // of @every; the rest is unused then

	second, minute, hour, month uint64   // a bit for each value
	day                         uint64   // of the month
	weekday                     uint64   // Sunday is 0
	lastDay, lastWeekday        bool     // L and LW
	nth                         [7]uint8 // of a weekday: bit n for the n-th in a month, bit 0 for the last
	bothDays                    bool     // a star in one of the day fields: both must hold
	fixed                       bool
}

// String is the specification that was parsed.
func (s *Schedule) String() string { return s.spec }

// Location is the zone whose clock the schedule follows.
func (s *Schedule) Location() *time.Location { return s.loc }

// horizon is how many years without a slot mean that there is none. The leap years
// around 2100 are eight years apart, and a weekday on a 29 February can take 40.
const horizon = 50

// Next is the first time after the given one when the schedule comes due, in its
// zone; the zero time where it never does again.
func (s *Schedule) Next(after time.Time) time.Time {
	if s.every > 0 {
		return after.Add(s.every).In(s.loc)
	}
	after = after.In(s.loc)
	if s.fixed {
		return s.nextFixed(after)
	}
	return s.nextReal(after)
}

// A wall is what a clock on a wall shows.
type wall struct {
	year, month, day, hour, minute, second int
}

func wallOf(t time.Time) wall {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	return wall{year, int(month), day, hour, minute, second}
}

func (w wall) in(loc *time.Location) time.Time {
	return time.Date(w.year, time.Month(w.month), w.day, w.hour, w.minute, w.second, 0, loc)
}

// next is the first slot at or after w, by the calendar alone.
func (s *Schedule) next(w wall) (wall, bool) {
	last := w.year + horizon
	for w.year <= last {
		switch {
		case s.month&(1<<w.month) == 0:
			w = wall{w.year, w.month + 1, 1, 0, 0, 0}
			if w.month > 12 {
				w.year, w.month = w.year+1, 1
			}
		case !s.onDay(w.year, w.month, w.day):
			w = wall{w.year, w.month, w.day + 1, 0, 0, 0}
			if w.day > days(w.year, w.month) {
				w = s.nextMonth(w)
			}
		case s.hour&(1<<w.hour) == 0:
			w = s.nextHour(w)
		case s.minute&(1<<w.minute) == 0:
			w.minute, w.second = w.minute+1, 0
			if w.minute > 59 {
				w = s.nextHour(w)
			}
		case s.second&(1<<w.second) == 0:
			if w.second++; w.second > 59 {
				w.minute, w.second = w.minute+1, 0
				if w.minute > 59 {
					w = s.nextHour(w)
				}
			}
		default:
			return w, true
		}
	}
	return w, false
}

func (s *Schedule) nextMonth(w wall) wall {
	if w.month == 12 {
		return wall{w.year + 1, 1, 1, 0, 0, 0}
	}
	return wall{w.year, w.month + 1, 1, 0, 0, 0}
}

func (s *Schedule) nextHour(w wall) wall {
	if w.hour < 23 {
		return wall{w.year, w.month, w.day, w.hour + 1, 0, 0}
	}
	if w.day < days(w.year, w.month) {
		return wall{w.year, w.month, w.day + 1, 0, 0, 0}
	}
	return s.nextMonth(w)
}

// days is how many days a month has.
func days(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// weekday of a date, Sunday is 0 (Sakamoto).
func weekday(year, month, day int) int {
	shift := [...]int{0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4}
	if month < 3 {
		year--
	}
	return (year + year/4 - year/100 + year/400 + shift[month-1] + day) % 7
}

// onDay says whether a date is one of the schedule's. Where one of the two day
// fields begins with a star both must hold, else one is enough (Debian's cron).
func (s *Schedule) onDay(year, month, day int) bool {
	inMonth := s.day&(1<<day) != 0
	if last := days(year, month); !inMonth && (s.lastDay || s.lastWeekday) && day >= 26 {
		inMonth = s.lastDay && day == last
		if s.lastWeekday && !inMonth {
			switch weekday(year, month, last) {
			case 0:
				last -= 2
			case 6:
				last--
			}
			inMonth = day == last
		}
	}
	if s.bothDays && !inMonth {
		return false
	}
	wd := weekday(year, month, day)
	inWeek := s.weekday&(1<<wd) != 0
	if nth := s.nth[wd]; !inWeek && nth != 0 {
		inWeek = nth&(1<<((day+6)/7)) != 0 || (nth&1 != 0 && day+7 > days(year, month))
	}
	if s.bothDays {
		return inWeek
	}
	return inMonth || inWeek
}

// soon is longer than any clock is ever set by.
const soon = 26 * time.Hour

// nextReal is the first instant after the given one at which the clock on the wall
// shows a slot.
func (s *Schedule) nextReal(after time.Time) time.Time {
	t := after.Truncate(time.Second).Add(time.Second)
	limit := t.Year() + horizon
	for t.Year() <= limit {
		now := wallOf(t)
		slot, found := s.next(now)
		if !found {
			return time.Time{}
		}
		candidate := t.Add(slot.in(time.UTC).Sub(now.in(time.UTC)))
		_, end := t.ZoneBounds()
		if end.IsZero() || candidate.Before(end) {
			return candidate
		}
		// The clock is set before that: look again from there, or from shortly before
		// the slot, where all that is shown in between has been looked at.
		next := end
		if near := slot.in(s.loc).Add(-soon); end.Sub(t) > soon && near.After(end) {
			next = near
		}
		t = next.In(s.loc)
	}
	return time.Time{}
}

// nextFixed goes by the calendar, and gives each slot one instant.
func (s *Schedule) nextFixed(after time.Time) time.Time {
	w := wallOf(after)
	for {
		w.second++ // a second of 60 is no slot, and next goes on from there
		slot, found := s.next(w)
		if !found {
			return time.Time{}
		}
		if t := s.instant(slot); t.After(after) {
			return t
		}
		w = slot
	}
}

// instant is when the clock on the wall first shows w, or the end of the gap in
// which it never does.
func (s *Schedule) instant(w wall) time.Time {
	utc := w.in(time.UTC)
	guess := w.in(s.loc)
	start, end := guess.ZoneBounds()
	if !start.IsZero() {
		before := start.Add(-time.Second)
		if t := s.shifted(utc, before); t.Before(start) {
			return t
		}
		if t := s.shifted(utc, start); t.Before(start) {
			return start // in the gap at the start
		}
	}
	t := s.shifted(utc, guess)
	if !end.IsZero() && !t.Before(end) {
		if later := s.shifted(utc, end); !later.Before(end) {
			return later
		}
		return end
	}
	return t
}

// shifted is utc as a time on the wall of the zone that holds at another time.
func (s *Schedule) shifted(utc, at time.Time) time.Time {
	_, offset := at.In(s.loc).Zone()
	return utc.Add(-time.Duration(offset) * time.Second).In(s.loc)
}
