package event

import (
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads a duration as configuration and filters write it: a
// number and a unit, or several of them: 250ms, 5s, 10m, 26h, 14d, 1h30m. It is
// time.ParseDuration with days of 24 hours.
func ParseDuration(text string) (time.Duration, error) {
	days, rest, hasDays := strings.Cut(text, "d")
	if !hasDays {
		days, rest = "", text
	}
	var total time.Duration
	if hasDays {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || n < -106000 || n > 106000 {
			return 0, badDuration(text)
		}
		total = time.Duration(n * float64(24*time.Hour))
		if rest == "" {
			return total, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, badDuration(text)
	}
	return total + d, nil
}

func badDuration(text string) error {
	return Invalidf("%q is not a duration such as 250ms, 5s, 10m, 26h or 14d", clip(text))
}

// FormatDuration writes a duration as ParseDuration reads it, as short as it
// can be: 14d, 26h, 1h30m.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	const day = 24 * time.Hour
	if d%day == 0 && (d >= 2*day || d <= -2*day) {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
