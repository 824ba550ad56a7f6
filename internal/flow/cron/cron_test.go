package cron_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/cron"
)

func zone(tb testing.TB, name string) *time.Location {
	tb.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		tb.Fatal(err)
	}
	return loc
}

// next lists the coming times of a schedule.
func next(t *testing.T, spec, zoneName, after string, n int) []string {
	t.Helper()
	s, err := cron.Parse(spec, zone(t, zoneName))
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339, after)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for range n {
		at = s.Next(at)
		if at.IsZero() {
			break
		}
		all = append(all, at.Format("Mon 2006-01-02 15:04:05 -0700"))
	}
	return all
}

func TestNext(t *testing.T) {
	const berlin = "Europe/Berlin"
	for _, c := range []struct {
		name, spec, zone, after string
		want                    []string
	}{
		{"every quarter", "*/15 * * * *", "UTC", "2026-01-01T00:07:00Z", []string{"Thu 2026-01-01 00:15:00 +0000", "Thu 2026-01-01 00:30:00 +0000"}},
		{"strictly after", "0 0 * * *", "UTC", "2026-01-01T00:00:00Z", []string{"Fri 2026-01-02 00:00:00 +0000"}},
		{"a fraction of a second before", "0 0 * * *", "UTC", "2025-12-31T23:59:59.5Z", []string{"Thu 2026-01-01 00:00:00 +0000"}},
		{"seconds", "*/20 30 2 * * *", "UTC", "2026-01-01T02:30:10Z", []string{"Thu 2026-01-01 02:30:20 +0000", "Thu 2026-01-01 02:30:40 +0000", "Fri 2026-01-02 02:30:00 +0000"}},
		{"names and ranges", "0 9 * jan-MAR Mon-fri/2", "UTC", "2026-03-28T00:00:00Z", []string{"Mon 2026-03-30 09:00:00 +0000", "Fri 2027-01-01 09:00:00 +0000"}},
		{"7 is Sunday", "0 0 * * 7", "UTC", "2026-01-01T00:00:00Z", []string{"Sun 2026-01-04 00:00:00 +0000"}},
		{"either day", "0 0 13 * 5", "UTC", "2026-02-10T00:00:00Z", []string{"Fri 2026-02-13 00:00:00 +0000", "Fri 2026-02-20 00:00:00 +0000"}},
		{"both days, because of the star", "0 0 */2 * 5", "UTC", "2026-02-10T00:00:00Z", []string{"Fri 2026-02-13 00:00:00 +0000", "Fri 2026-02-27 00:00:00 +0000"}},
		{"the last day", "0 0 L * *", "UTC", "2026-02-10T00:00:00Z", []string{"Sat 2026-02-28 00:00:00 +0000", "Tue 2026-03-31 00:00:00 +0000"}},
		{"the last weekday", "0 0 LW * *", "UTC", "2026-02-10T00:00:00Z", []string{"Fri 2026-02-27 00:00:00 +0000", "Tue 2026-03-31 00:00:00 +0000"}},
		{"the last Friday", "0 0 * * 5L", "UTC", "2026-02-10T00:00:00Z", []string{"Fri 2026-02-27 00:00:00 +0000"}},
		{"the second Tuesday", "0 0 * * tue#2", "UTC", "2026-02-11T00:00:00Z", []string{"Tue 2026-03-10 00:00:00 +0000"}},
		{"29 February", "0 0 29 2 *", "UTC", "2097-01-01T00:00:00Z", []string{"Fri 2104-02-29 00:00:00 +0000"}},
		{"29 February, a Monday", "0 0 29 FEB */1", "UTC", "2026-01-01T00:00:00Z", []string{"Tue 2028-02-29 00:00:00 +0000"}},
		{"macro", "@weekly", "UTC", "2026-01-01T00:00:00Z", []string{"Sun 2026-01-04 00:00:00 +0000"}},
		{"every", "@every 20m30s", "UTC", "2026-01-01T00:00:00Z", []string{"Thu 2026-01-01 00:20:30 +0000", "Thu 2026-01-01 00:41:00 +0000"}},
		{"the zone of the specification", "CRON_TZ=Asia/Tokyo 0 9 * * *", berlin, "2026-01-01T00:00:00Z", []string{"Fri 2026-01-02 09:00:00 +0900"}},
		{"TZ, too", "TZ=Asia/Tokyo 0 9 * * *", berlin, "2025-12-31T12:00:00Z", []string{"Thu 2026-01-01 09:00:00 +0900"}},

		// 2026-03-29 02:00 becomes 03:00; 2026-10-25 03:00 becomes 02:00.
		{"fixed, in the gap", "30 2 * * *", berlin, "2026-03-28T12:00:00Z", []string{"Sun 2026-03-29 03:00:00 +0200", "Mon 2026-03-30 02:30:00 +0200"}},
		{"two in the gap come at its end, once", "0,30 2 * * *", berlin, "2026-03-29T00:30:00Z", []string{"Sun 2026-03-29 03:00:00 +0200", "Mon 2026-03-30 02:00:00 +0200"}},
		{"fixed, repeated", "30 2 * * *", berlin, "2026-10-24T12:00:00Z", []string{"Sun 2026-10-25 02:30:00 +0200", "Mon 2026-10-26 02:30:00 +0100"}},
		{"fixed, begun in the second hour", "30 2 * * *", berlin, "2026-10-25T01:10:00Z", []string{"Mon 2026-10-26 02:30:00 +0100"}},
		{"real time over the gap", "*/30 * * * *", berlin, "2026-03-29T00:30:00Z", []string{"Sun 2026-03-29 03:00:00 +0200", "Sun 2026-03-29 03:30:00 +0200"}},
		{"real time, repeated", "*/30 * * * *", berlin, "2026-10-25T00:00:00Z", []string{"Sun 2026-10-25 02:30:00 +0200", "Sun 2026-10-25 02:00:00 +0100", "Sun 2026-10-25 02:30:00 +0100", "Sun 2026-10-25 03:00:00 +0100"}},
		{"each hour at half past, repeated", "30 * * * *", berlin, "2026-10-25T00:00:00Z", []string{"Sun 2026-10-25 02:30:00 +0200", "Sun 2026-10-25 02:30:00 +0100"}},
		{"each minute of a missing hour", "* 2 * * *", berlin, "2026-03-28T01:59:00Z", []string{"Mon 2026-03-30 02:00:00 +0200"}},
		{"half an hour, Lord Howe", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"Sun 2026-10-04 02:30:00 +1100"}},
		{"a day that was left out", "0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", []string{"Sat 2011-12-31 00:00:00 +1400"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, next(t, c.spec, c.zone, c.after, len(c.want))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		spec   string
		column int
		want   string
	}{
		{"", 1, "0 fields"},
		{"* * * *", 1, "4 fields"},
		{"* * * * * * *", 1, "7 fields"},
		{"60 * * * *", 1, "0 to 59"},
		{"* 24 * * *", 3, "0 to 23"},
		{"* * 0 * *", 5, "1 to 31"},
		{"* * * Foo *", 7, "a name such as JAN"},
		{"* * * * 8", 9, "0 to 7"},
		{"1,2,x * * * *", 5, "minute"},
		{"*/0 * * * *", 3, "the step"},
		{"*/ * * * *", 3, "the step"},
		{"5-1 * * * *", 1, "two ranges"},
		{"* * * * 5#6", 11, "1 to 5"},
		{"0 0 30 2 *", 5, "never comes due"},
		{"0 0 31 4,6,9,11 *", 5, "never comes due"},
		{"@never", 1, "@hourly"},
		{"@daily 5", 8, "nothing may follow"},
		{"@every", 1, "a duration"},
		{"@every soon", 8, "no duration"},
		{"@every 10ms", 8, "at least a second"},
		{"CRON_TZ=Mars/Olympus * * * * *", 1, "no time zone"},
		{"TZ= * * * * *", 1, "no time zone"},
		{"TZ=UTC", 1, "0 fields"},
		{strings.Repeat("1", 2000) + " * * * *", 1, "longer than"},
		{"99999999999999999999 * * * *", 1, "0 to 59"},
		{"-1 * * * *", 1, "minute"},
		{"1--2 * * * *", 3, "minute"},
		{"L * * * *", 1, "minute"},
		{"* * * * L", 9, "day of week"},
	} {
		_, err := cron.Parse(c.spec, nil)
		var bad *cron.Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) || bad.Column != c.column {
			t.Errorf("%.40q: got %v, want column %d and %q", c.spec, err, c.column, c.want)
		}
		if !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%.40q: of no class", c.spec)
		}
	}
}

func TestAllocations(t *testing.T) {
	after := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	for _, spec := range []string{"*/5 * * * *", "30 2 * * *", "0 0 29 2 *", "*/10 * * * * *", "@every 5m", "0 0 LW * *", "15 3 * * 5L"} {
		s, err := cron.Parse(spec, zone(t, "Europe/Berlin"))
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { after = s.Next(after) }); n != 0 {
			t.Errorf("%s: %v allocations", spec, n)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, spec := range []string{"*/5 * * * *", "30 2 * * *", "0 0 29 2 *"} {
		b.Run(spec, func(b *testing.B) {
			s, err := cron.Parse(spec, zone(b, "Europe/Berlin"))
			if err != nil {
				b.Fatal(err)
			}
			after := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
			b.ReportAllocs()
			for b.Loop() {
				s.Next(after)
			}
		})
	}
}

// FuzzNext holds Next against its own meaning: it moves on, and its times are slots.
func FuzzNext(f *testing.F) {
	for _, spec := range []string{"*/5 * * * *", "0,30 2 L * 5#2", "CRON_TZ=Asia/Tokyo 0 9 * jan mon", "@every 1h", "@hourly", "59 23 31 12 *", "*/7 1-5/2 LW */3 0-7"} {
		f.Add(spec, int64(1774742400), uint8(0))
	}
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"}
	f.Fuzz(func(t *testing.T, spec string, unix int64, z uint8) {
		s, err := cron.Parse(spec, zone(t, zones[int(z)%len(zones)]))
		if err != nil {
			if !errors.Is(err, event.ErrInvalid) {
				t.Fatalf("%q: %v", spec, err)
			}
			return
		}
		at := time.Unix(unix%5e9, 0)
		for range 3 {
			got := s.Next(at)
			if got.IsZero() {
				return
			}
			if !got.After(at) {
				t.Fatalf("%q: %v comes after %v", spec, got, at)
			}
			// From just before it, the same one comes next.
			if !strings.Contains(spec, "@every") {
				if again := s.Next(got.Add(-time.Nanosecond)); !again.Equal(got) {
					t.Fatalf("%q: after %v comes %v, and then %v", spec, at, got, again)
				}
			}
			at = got
		}
	})
}
