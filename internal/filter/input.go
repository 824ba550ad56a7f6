package filter

import (
	"bytes"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// Input is one event as filters see it. What they ask for of its data is decoded
// once, so that many filters on one event are cheap. It
// belongs to one goroutine.
type Input struct {
	event *event.Event
	data  ref.Val
}

var _ cel.Activation = (*Input)(nil)

// NewInput wraps an event, which must not change while the input is used.
func NewInput(e *event.Event) *Input { return &Input{event: e} }

// Parent implements cel.Activation.
func (in *Input) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (in *Input) ResolveName(name string) (any, bool) {
	e := in.event
	switch name {
	case "data":
		return in.decoded(), true
	case "type":
		return types.String(e.Type), true
	case "severity", "severitynumber":
		return types.Int(e.Severity), true
	case "causationdepth":
		return types.Int(e.CausationDepth), true
	case "sequence":
		return types.Int(e.Sequence), true
	case "time":
		return types.Timestamp{Time: e.Time}, true
	case "recordedtime":
		return types.Timestamp{Time: e.RecordedTime}, true
	case "expirytime":
		return types.Timestamp{Time: e.ExpiryTime}, true
	case "actor":
		return map[string]string{"id": e.AuthID, "name": e.AuthName, "email": e.AuthEmail, "type": e.AuthType, "on_behalf_of": e.OnBehalfOf}, true
	case "geo":
		return map[string]string{"country": e.GeoCountry, "continent": e.GeoContinent, "city": e.GeoCity, "lat": e.GeoLat, "lon": e.GeoLon}, true
	case "asn":
		return map[string]string{"number": e.ASN, "org": e.ASOrg, "network": e.ASNetwork}, true
	case eventVariable:
		return opaque{in}, true
	}
	return types.String(e.Text(name)), true
}

// members of the maps that stand for several attributes; compile checks names
// against them.
func mapMembers(variable string) []string {
	switch variable {
	case "actor":
		return []string{"id", "name", "email", "type", "on_behalf_of"}
	case "geo":
		return []string{"country", "continent", "city", "lat", "lon"}
	case "asn":
		return []string{"number", "org", "network"}
	}
	return nil
}

func (in *Input) decoded() ref.Val {
	switch {
	case in.data != nil:
	case in.event.Data == nil:
		in.data = types.DefaultTypeAdapter.NativeToValue(map[string]any{})
	case len(in.event.Data) > 0 && in.event.Data[0] == '{':
		in.data = &members{raw: in.event.Data}
	default:
		in.data = types.DefaultTypeAdapter.NativeToValue(decode(in.event.Data))
	}
	return in.data
}

// decode reads JSON that has been checked when it was recorded. Whole numbers
// that fit become int, all others double.
func decode(data []byte) any {
	var sc scan.Scanner
	sc.Reset(data)
	kind, err := sc.Next()
	if err != nil {
		return nil
	}
	return decodeValue(&sc, kind)
}

func decodeValue(sc *scan.Scanner, kind scan.Kind) any {
	switch kind {
	case scan.String:
		return string(sc.Text())
	case scan.Number:
		if n, err := strconv.ParseInt(string(sc.Raw()), 10, 64); err == nil {
			return n
		}
		f, _ := strconv.ParseFloat(string(sc.Raw()), 64)
		return f
	case scan.True:
		return true
	case scan.False:
		return false
	case scan.ObjectStart:
		m := map[string]any{}
		for {
			kind, err := sc.Next()
			if err != nil || kind == scan.ObjectEnd {
				return m
			}
			name := string(sc.Text())
			if kind, err = sc.Next(); err != nil {
				return m
			}
			m[name] = decodeValue(sc, kind)
		}
	case scan.ArrayStart:
		list := []any{}
		for {
			kind, err := sc.Next()
			if err != nil || kind == scan.ArrayEnd {
				return list
			}
			list = append(list, decodeValue(sc, kind))
		}
	}
	return nil
}

// hasText looks for a lower-case needle in the string values of data.
func (in *Input) hasText(needle string) bool {
	if in.event.Data == nil {
		return false
	}
	var sc scan.Scanner
	sc.Reset(in.event.Data)
	for {
		kind, err := sc.Next()
		if err != nil || kind == scan.End {
			return false
		}
		if kind != scan.String || sc.IsKey() {
			continue
		}
		if containsFold(sc.Text(), needle) {
			return true
		}
	}
}

func containsFold(text []byte, needle string) bool {
	if len(text) < len(needle) && isASCII(text) {
		return false
	}
	return strings.Contains(string(bytes.ToLower(text)), needle)
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
