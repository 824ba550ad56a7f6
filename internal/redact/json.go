package redact

import (
	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// Secrecy tells what is known about a top-level member of an event's data.
// Where known is false the word list decides.
type Secrecy func(name []byte) (secret, known bool)

// JSON masks the secrets in one JSON value: every value under a secret key with
// all that is below it, and every credential inside a string. What is not
// secret stays byte for byte, and where nothing is, the result is data itself.
// data must be valid JSON (event.Decode has made sure); secrecy may be nil.
func JSON(data []byte, secrecy Secrecy) []byte {
	sc := scan.GetValid(data)
	defer scan.Put(sc)
	r := redaction{sc: sc, in: data, secrecy: secrecy}
	r.run()
	if r.out == nil {
		return data
	}
	return append(r.out, data[r.copied:]...)
}

const quotedMask = `"` + Mask + `"`

type redaction struct {
	sc      *scan.Scanner
	in      []byte
	out     []byte
	copied  int // how much of in is decided
	secrecy Secrecy
}

// replace puts text in place of in[from:to].
func (r *redaction) replace(from, to int, text string) {
	if r.out == nil {
		r.out = make([]byte, 0, len(r.in)+len(text))
	}
	r.out = append(append(r.out, r.in[r.copied:from]...), text...)
	r.copied = to
}

func (r *redaction) run() {
	for {
		kind, err := r.sc.Next()
		if err != nil || kind == scan.End {
			return
		}
		if kind != scan.String {
			continue
		}
		if !r.sc.IsKey() {
			r.text()
			continue
		}
		if r.secret() && !r.subtree() {
			return
		}
	}
}

// secret decides about the current key.
func (r *redaction) secret() bool {
	name := r.sc.Text()
	if r.secrecy != nil && r.sc.Depth() == 1 {
		if secret, known := r.secrecy(name); known {
			return secret
		}
	}
	return Key(name)
}

// subtree masks the value of the current key. In a diff both values are masked
// apart, so that it still shows that the secret has changed.
func (r *redaction) subtree() bool {
	kind, err := r.sc.Next()
	if err != nil {
		return false
	}
	if kind == scan.Null {
		return true
	}
	if kind == scan.ObjectStart && isDiff(r.in[r.sc.Offset():]) {
		return r.diff()
	}
	from := r.sc.Offset()
	whole, err := r.sc.Skip()
	if err != nil {
		return false
	}
	r.replace(from, from+len(whole), quotedMask)
	return true
}

// isDiff looks at the first key of an object that has begun.
func isDiff(object []byte) bool {
	var sc scan.Scanner
	sc.ResetValid(object)
	if kind, err := sc.Next(); err != nil || kind != scan.ObjectStart {
		return false
	}
	kind, err := sc.Next()
	if err != nil || kind != scan.String {
		return false
	}
	switch string(sc.Text()) {
	case "previous_value", "new_value":
		return true
	}
	return false
}

func (r *redaction) diff() bool {
	for {
		kind, err := r.sc.Next()
		if err != nil {
			return false
		}
		if kind == scan.ObjectEnd {
			return true
		}
		whole, err := r.sc.Skip()
		if err != nil {
			return false
		}
		if string(whole) != "null" {
			end := r.sc.EndOffset()
			r.replace(end-len(whole), end, quotedMask)
		}
	}
}

// text masks credentials inside the current string value.
func (r *redaction) text() {
	raw := r.sc.Raw()
	if len(raw) < 10 || !suspicious(raw) {
		return
	}
	before := string(r.sc.Text())
	if after := Text(before); after != before {
		r.replace(r.sc.Offset(), r.sc.EndOffset(), string(scan.AppendString(nil, after)))
	}
}

// suspicious is a quick look at a JSON string: only those with one of these
// bytes can hold what Text masks.
func suspicious(raw []byte) bool {
	for i, c := range raw {
		switch c {
		case ':', '=', '\\':
			return true
		case '-':
			if i+1 < len(raw) && raw[i+1] == '-' {
				return true
			}
		case 'e':
			if i+2 < len(raw) && raw[i+1] == 'y' && raw[i+2] == 'J' {
				return true
			}
		case 'B', 'b':
			if i+1 < len(raw) && (raw[i+1]|0x20 == 'a' || raw[i+1]|0x20 == 'e') {
				return true
			}
		}
	}
	return false
}
