package event

import "strings"

// Severity is OpenTelemetry's SeverityNumber, limited to the five that seed 000
// names. Greater is worse. Zero means that an event carries none.
type Severity int32

// The severities (OpenTelemetry logs data model, "Severity Fields").
const (
	Info     Severity = 9
	Notice   Severity = 10
	Warn     Severity = 13
	Error    Severity = 17
	Critical Severity = 18
)

// Severities lists them from the mildest to the worst.
func Severities() []Severity { return []Severity{Info, Notice, Warn, Error, Critical} }

// String gives the severitytext attribute's value; empty for an unknown number.
func (s Severity) String() string {
	switch s {
	case Info:
		return "info"
	case Notice:
		return "notice"
	case Warn:
		return "warn"
	case Error:
		return "error"
	case Critical:
		return "critical"
	default:
		return ""
	}
}

// ParseSeverity reads one of the five names.
func ParseSeverity(name string) (Severity, error) {
	for _, s := range Severities() {
		if s.String() == name {
			return s, nil
		}
	}
	names := make([]string, 0, 5)
	for _, s := range Severities() {
		names = append(names, s.String())
	}
	return 0, Invalidf("severity %q is unknown: use one of %s", clip(name), strings.Join(names, ", "))
}
