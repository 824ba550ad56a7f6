package segment

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// A stored body repeats what the columns hold, and it is full of random ids in
// hexadecimal, which no compressor can shrink below half. pack takes both out:
// an attribute that a column has becomes a mark and a letter, an id a mark and
// a letter with its bytes in a stream of their own. Everything else stays as it
// is, so any body at all survives unchanged, also one that is no JSON.
const (
	mark = 0x01 // never occurs in JSON; if it does, it is doubled

	opUUID = 'u' // 16 bytes of ids, as RFC 9562 writes a UUID in lower case
	opHex  = 'h' // and a byte n: n bytes of ids, as 2n lower-case digits

	minTail  = 12       // digits in the last group of a UUID, and the shortest run that is taken out
	uuidLen  = 36       // characters
	maxBody  = 64 << 20 // bytes; stops a hostile file from growing without bound
	maxBytes = 255      // in one opHex
)

var errPacked = errors.New("a packed body is malformed")

// attributes are the parts of a body that the columns hold.
type attributes struct {
	source, typ, kind, actor, ip string
	severity                     event.Severity
	time, expiry                 int64
}

// attributeOps are the attributes in the order in which AppendStored writes them.
const attributeOps = "stTkvaie"

// appendAttribute renders one attribute exactly as AppendStored does; nothing
// when the event lacks it.
func appendAttribute(dst []byte, op byte, a *attributes) []byte {
	switch op {
	case 's':
		return appendText(dst, `,"source":`, a.source)
	case 't':
		return appendText(dst, `,"type":`, a.typ)
	case 'T':
		return appendTime(dst, `,"time":"`, a.time)
	case 'k':
		return appendText(dst, `,"kind":`, a.kind)
	case 'v':
		if a.severity == 0 {
			return dst
		}
		dst = append(dst, `,"severitytext":"`...)
		dst = append(dst, a.severity.String()...)
		dst = append(dst, `","severitynumber":`...)
		return strconv.AppendInt(dst, int64(a.severity), 10)
	case 'a':
		return appendText(dst, `,"authid":`, a.actor)
	case 'i':
		return appendText(dst, `,"clientip":`, a.ip)
	case 'e':
		if a.expiry == 0 {
			return dst
		}
		return appendTime(dst, `,"expirytime":"`, a.expiry)
	default:
		return nil
	}
}

func appendText(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return scan.AppendString(append(dst, name...), value)
}

func appendTime(dst []byte, name string, ns int64) []byte {
	dst = append(dst, name...)
	return append(time.Unix(0, ns).UTC().AppendFormat(dst, time.RFC3339Nano), '"')
}

// packer holds the buffers of pack.
type packer struct {
	text, ids []byte
	want      []byte
}

// pack appends a body to p.text and p.ids.
func (p *packer) pack(body []byte, a *attributes) {
	for i := range len(attributeOps) {
		p.want = appendAttribute(p.want[:0], attributeOps[i], a)
		if len(p.want) == 0 {
			continue
		}
		if at := bytes.Index(body, p.want); at >= 0 {
			p.literal(body[:at])
			p.text = append(p.text, mark, attributeOps[i])
			body = body[at+len(p.want):]
		}
	}
	p.literal(body)
}

// literal appends text, with its ids taken out.
func (p *packer) literal(text []byte) {
	for {
		from, to := hexRun(text)
		if from == to {
			p.escaped(text)
			return
		}
		if start := to - uuidLen; to-from == minTail && start >= 0 && isUUID(text[start:to]) {
			p.escaped(text[:start])
			p.text = append(p.text, mark, opUUID)
			for _, part := range [...][2]int{{0, 8}, {9, 13}, {14, 18}, {19, 23}, {24, 36}} {
				p.ids = appendBytes(p.ids, text[start+part[0]:start+part[1]])
			}
		} else {
			to -= (to - from) % 2
			to = min(to, from+2*maxBytes)
			p.escaped(text[:from])
			p.text = append(p.text, mark, opHex, byte((to-from)/2))
			p.ids = appendBytes(p.ids, text[from:to])
		}
		text = text[to:]
	}
}

func (p *packer) escaped(text []byte) {
	for {
		i := bytes.IndexByte(text, mark)
		if i < 0 {
			p.text = append(p.text, text...)
			return
		}
		p.text = append(p.text, text[:i]...)
		p.text = append(p.text, mark, mark)
		text = text[i+1:]
	}
}

// hexRun finds the first run of at least minTail lower-case hexadecimal digits
// that holds both a letter and a decimal digit; from == to when there is none.
// It looks at every minTail'th byte only, until it meets a digit.
func hexRun(text []byte) (from, to int) {
	for i := minTail - 1; i < len(text); i += minTail {
		if nibble[text[i]] == noDigit {
			continue
		}
		from, to = i, i+1
		for from > 0 && i-from < minTail && nibble[text[from-1]] != noDigit {
			from--
		}
		// One piece holds no more: looking further would be done again for the next.
		for to < len(text) && to-from < 2*maxBytes && nibble[text[to]] != noDigit {
			to++
		}
		if to-from >= minTail && mixed(text[from:to]) {
			return from, to
		}
		i = max(i, to-1)
	}
	return 0, 0
}

// mixed tells ids from words, and from numbers, which compress better as text.
func mixed(run []byte) bool {
	letter, digit := false, false
	for _, c := range run {
		letter, digit = letter || c >= 'a', digit || c < 'a'
		if letter && digit {
			return true
		}
	}
	return false
}

func isUUID(text []byte) bool {
	for i, c := range text {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if nibble[c] == noDigit {
				return false
			}
		}
	}
	return true
}

const noDigit = 0xFF

// nibble gives the value of a lower-case hexadecimal digit.
var nibble = func() (table [256]byte) { //nolint:gochecknoglobals // a constant table, which Go can't write as one
	for i := range table {
		table[i] = noDigit
	}
	for i := range 16 {
		table["0123456789abcdef"[i]] = byte(i)
	}
	return table
}()

func appendBytes(dst, digits []byte) []byte {
	for i := 0; i+1 < len(digits); i += 2 {
		dst = append(dst, nibble[digits[i]]<<4|nibble[digits[i+1]])
	}
	return dst
}

func appendHex(dst, ids []byte) []byte {
	for _, c := range ids {
		dst = append(dst, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
	}
	return dst
}

// dataMark begins the data of a stored body; pack leaves it as it is.
const dataMark = `,"data":`

// dataTail cuts a packed body in front of its data; nothing is left where there
// is none.
func dataTail(text, ids []byte) (_, _ []byte, err error) {
	at := bytes.Index(text, []byte(dataMark))
	if at < 0 {
		return nil, nil, nil
	}
	for head := text[:at]; ; {
		i := bytes.IndexByte(head, mark)
		if i < 0 {
			return text[at:], ids, nil
		}
		if i+1 >= len(head) {
			return nil, nil, errPacked
		}
		n := 0
		switch op := head[i+1]; {
		case op == opUUID:
			n = 16
		case op == opHex && i+2 < len(head):
			n = int(head[i+2])
			i++
		}
		if n > len(ids) {
			return nil, nil, errPacked
		}
		head, ids = head[i+2:], ids[n:]
	}
}

// unpack appends the body that pack was given. It asks for the attributes only
// when it meets one.
func unpack(dst, text, ids []byte, attributes func() (*attributes, error)) ([]byte, error) {
	for start := len(dst); ; {
		i := bytes.IndexByte(text, mark)
		if i < 0 {
			dst = append(dst, text...)
			if len(ids) != 0 || len(dst)-start > maxBody {
				return dst, errPacked
			}
			return dst, nil
		}
		if i+1 >= len(text) || len(dst)-start > maxBody {
			return dst, errPacked
		}
		dst = append(dst, text[:i]...)
		op := text[i+1]
		text = text[i+2:]
		switch op {
		case mark:
			dst = append(dst, mark)
		case opUUID:
			if len(ids) < 16 {
				return dst, errPacked
			}
			dst = appendUUID(dst, ids)
			ids = ids[16:]
		case opHex:
			if len(text) == 0 || len(ids) < int(text[0]) {
				return dst, errPacked
			}
			n := int(text[0])
			dst = appendHex(dst, ids[:n])
			text, ids = text[1:], ids[n:]
		default:
			a, err := attributes()
			if err != nil {
				return dst, err
			}
			if dst = appendAttribute(dst, op, a); dst == nil {
				return nil, errPacked
			}
		}
	}
}

func appendUUID(dst, ids []byte) []byte {
	dst = append(appendHex(dst, ids[:4]), '-')
	dst = append(appendHex(dst, ids[4:6]), '-')
	dst = append(appendHex(dst, ids[6:8]), '-')
	dst = append(appendHex(dst, ids[8:10]), '-')
	return appendHex(dst, ids[10:16])
}
