package catalog

import (
	"encoding/json"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// View names a way to render an event.
type View string

// The views. Each is a pure function of the event.
const (
	CloudEvents View = "cloudevents" // the event as it is
	Audit       View = "audit"       // seed 003's JSON
	Significant View = "significant" // seed 002's JSON
)

// AppendView appends the JSON of an event in a view. An unknown view is an
// error of class event.ErrInvalid.
func AppendView(dst []byte, e *event.Event, v View) ([]byte, error) {
	switch v {
	case CloudEvents, "":
		return e.AppendJSON(dst), nil
	case Audit:
		return appendAudit(dst, e)
	case Significant:
		return appendSignificant(dst, e), nil
	default:
		return dst, event.Invalidf("view %q is unknown: use cloudevents, audit or significant", v)
	}
}

// auditEvent is seed 003's event, member by member.
type auditEvent struct {
	PK       string          `json:"pk"`
	User     auditUser       `json:"user"`
	Action   event.Type      `json:"action"`
	App      string          `json:"app"`
	Context  json.RawMessage `json:"context"`
	ClientIP *string         `json:"client_ip"`
	Created  string          `json:"created"`
	Expires  *string         `json:"expires"`
	Brand    any             `json:"brand"`
}

type auditUser struct {
	PK         any        `json:"pk"`
	Email      string     `json:"email"`
	Username   string     `json:"username"`
	OnBehalfOf *auditUser `json:"on_behalf_of,omitempty"`
}

// auditTime is seed 003's form of time: microseconds and Z.
const auditTime = "2006-01-02T15:04:05.000000Z"

func appendAudit(dst []byte, e *event.Event) ([]byte, error) {
	a := auditEvent{
		PK: string(e.ID), Action: e.Type, App: appOf(e), Created: e.Time.UTC().Format(auditTime),
		User:    auditUser{PK: userPK(e.AuthID), Email: e.AuthEmail, Username: e.AuthName},
		Context: auditContext(e), Brand: auditBrand(e.Brand),
	}
	if a.User.Username == "" && e.AuthID == "" {
		a.User.Username = "AnonymousUser"
	}
	if e.OnBehalfOf != "" {
		a.User.OnBehalfOf = &auditUser{PK: userPK(e.OnBehalfOf)}
	}
	if e.ClientIP != "" {
		a.ClientIP = &e.ClientIP
	}
	if !e.ExpiryTime.IsZero() {
		expires := e.ExpiryTime.UTC().Format(auditTime)
		a.Expires = &expires
	}
	out, err := json.Marshal(a)
	if err != nil {
		return dst, err
	}
	return append(dst, out...), nil
}

// userPK shows a numeric id as a number, as the seed does.
func userPK(id string) any {
	if id == "" {
		return nil
	}
	if n := json.Number(id); len(id) <= 18 && id[0] != '-' && isDigits(id) {
		return n
	}
	return id
}

func isDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(s) == 1 || s[0] != '0'
}

// appOf is the module that raised the event: the last part of its source.
func appOf(e *event.Event) string {
	return "tocsin." + e.Source[strings.LastIndexByte(e.Source, '/')+1:]
}

func auditBrand(name string) any {
	if name == "" {
		return nil
	}
	return map[string]string{"pk": name, "app": "tocsin_brand", "name": name, "model_name": "brand"}
}

// auditContext is the data with geo and asn added, where they are known.
func auditContext(e *event.Event) json.RawMessage {
	context := []byte("{}")
	if len(e.Data) > 0 && e.Data[0] == '{' {
		context = e.Data
	} else if e.Data != nil {
		context = append(append([]byte(`{"data":`), e.Data...), '}')
	}
	var extra []byte
	if e.GeoCountry != "" || e.GeoLat != "" {
		extra = append(extra, `,"geo":`...)
		extra = appendJSON(extra, map[string]any{
			"continent": e.GeoContinent, "country": e.GeoCountry, "city": e.GeoCity,
			"lat": number(e.GeoLat), "long": number(e.GeoLon),
		})
	}
	if e.ASN != "" {
		extra = append(extra, `,"asn":`...)
		extra = appendJSON(extra, map[string]any{"asn": number(e.ASN), "as_org": e.ASOrg, "network": e.ASNetwork})
	}
	if extra == nil {
		return context
	}
	open := strings.TrimRight(string(context[:len(context)-1]), " \t\r\n")
	if strings.HasSuffix(open, "{") {
		extra = extra[1:]
	}
	return append(append([]byte(open), extra...), '}')
}

func appendJSON(dst []byte, v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		return append(dst, "null"...)
	}
	return append(dst, out...)
}

func number(text string) any {
	var sc scan.Scanner
	sc.Reset([]byte(text))
	if kind, err := sc.Next(); err == nil && kind == scan.Number {
		if kind, err = sc.Next(); err == nil && kind == scan.End {
			return json.Number(text)
		}
	}
	return nil
}

// appendSignificant writes seed 002's seven members in its order, with numbers
// in data as strings.
func appendSignificant(dst []byte, e *event.Event) []byte {
	dst = append(dst, `{"id":`...)
	dst = scan.AppendString(dst, string(e.ID))
	dst = append(dst, `,"time":"`...)
	dst = e.Time.UTC().AppendFormat(dst, significantTime)
	dst = append(dst, `","type":`...)
	dst = scan.AppendString(dst, string(e.Type))
	dst = append(dst, `,"source":`...)
	dst = scan.AppendString(dst, e.Source)
	dst = append(dst, `,"specversion":"1.0","datacontenttype":"application/json","data":`...)
	if e.Data == nil {
		return append(dst, `{}}`...)
	}
	return append(appendNumbersAsText(dst, e.Data), '}')
}

// significantTime is seed 002's form of time: milliseconds and Z.
const significantTime = "2006-01-02T15:04:05.000Z"

func appendNumbersAsText(dst, data []byte) []byte {
	var sc scan.Scanner
	sc.Reset(data)
	copied := 0
	for {
		kind, err := sc.Next()
		if err != nil || kind == scan.End {
			break
		}
		if kind == scan.Number {
			dst = append(dst, data[copied:sc.Offset()]...)
			dst = append(append(append(dst, '"'), sc.Raw()...), '"')
			copied = sc.EndOffset()
		}
	}
	return append(dst, data[copied:]...)
}
