// Package scan reads JSON (RFC 8259) token by token, strictly and without
// allocating. It exists because every event passes through it several times:
// when it is decoded, checked, redacted and indexed.
//
// What it promises: after Next has returned End, the input was exactly one JSON
// value in valid UTF-8, no object had the same key twice (also where escapes
// hide it), nothing was nested deeper than MaxDepth, every escape named a real
// character, and every number fits a float64. Errors say where (offset, line,
// column). Tokens alias the input; a Scanner belongs to one goroutine.
package scan

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"sync"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may be nested.
const MaxDepth = 128

// maxNumber is the length of the longest number literal, in bytes.
const maxNumber = 128

// Kind is the sort of a token.
type Kind byte

// The kinds of token.
const (
	End         Kind = 0
	ObjectStart Kind = '{'
	ObjectEnd   Kind = '}'
	ArrayStart  Kind = '['
	ArrayEnd    Kind = ']'
	String      Kind = '"'
	Number      Kind = '0'
	True        Kind = 't'
	False       Kind = 'f'
	Null        Kind = 'n'
)

// Error is a place in the input where it stopped being acceptable JSON. Offset
// counts bytes from 0, Line and Column count from 1 (columns in characters).
type Error struct {
	Offset, Line, Column int
	Msg                  string
}

func (e *Error) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
}

type frame struct {
	object bool
	count  int // members or elements so far
	keys   int // where this object's keys begin in Scanner.keys
	number int // of this object among all, from 1
}

// span is a key's token, quotes included. Two keys with different tags differ.
type span struct {
	from, to int
	tag      uint32
}

// tagOf tells most keys apart at a glance: by length, first and last letter.
func tagOf(name []byte) uint32 {
	return uint32(len(name))<<16 | uint32(name[1])<<8 | uint32(name[len(name)-2])
}

// manyKeys is the size from which an object's keys are looked up in a map.
const manyKeys = 24

// Scanner reads one JSON value. The zero value must be Reset before use.
type Scanner struct {
	in        []byte
	pos       int
	from, to  int // the current token
	key       bool
	escaped   bool
	done      bool
	afterKey  bool
	valid     bool // the input is known to be valid: see ResetValid
	stack     []frame
	keys      []span
	objects   int                 // how many objects or arrays have begun
	seen      map[string]struct{} // keys of big objects, behind the object's number
	scratch   []byte
	keyUnique []byte
}

// pool keeps scanners for Get, since they are needed for every event.
var pool = sync.Pool{New: func() any { return new(Scanner) }} //nolint:gochecknoglobals // a cache of buffers without a state of its own

// Get returns a scanner that reads in, for the caller to give back with Put.
func Get(in []byte) *Scanner {
	s := pool.Get().(*Scanner)
	s.Reset(in)
	return s
}

// GetValid is Get with ResetValid.
func GetValid(in []byte) *Scanner {
	s := Get(in)
	s.valid = true
	return s
}

// Put gives a scanner back. What it returned before must no longer be used,
// except for what aliases the input.
func Put(s *Scanner) {
	s.Reset(nil)
	pool.Put(s)
}

// Reset makes the scanner read in from its start.
func (s *Scanner) Reset(in []byte) {
	s.in, s.pos, s.from, s.to = in, 0, 0, 0
	s.key, s.escaped, s.done, s.afterKey = false, false, false, false
	s.stack, s.keys = s.stack[:0], s.keys[:0]
	s.objects, s.seen, s.valid = 0, nil, false
}

// ResetValid makes the scanner read something that a Scanner has read before, to
// its end and without an error, and leaves out what need not be checked twice.
// What it returns about any other input means nothing.
func (s *Scanner) ResetValid(in []byte) {
	s.Reset(in)
	s.valid = true
}

// Raw is the current token as it stands in the input, quotes included.
func (s *Scanner) Raw() []byte { return s.in[s.from:s.to] }

// Offset is where the current token begins, in bytes from the start.
func (s *Scanner) Offset() int { return s.from }

// EndOffset is where the current token ends.
func (s *Scanner) EndOffset() int { return s.to }

// IsKey reports whether the current token is the key of an object's member.
func (s *Scanner) IsKey() bool { return s.key }

// Escaped reports whether the current string token holds an escape.
func (s *Scanner) Escaped() bool { return s.escaped }

// Depth is the number of objects and arrays around the current token; a start
// or end token counts itself.
func (s *Scanner) Depth() int { return len(s.stack) }

// Text is the current string token without quotes and escapes. It aliases the
// input, or a buffer that the next call of Text reuses.
func (s *Scanner) Text() []byte {
	if !s.escaped {
		return s.in[s.from+1 : s.to-1]
	}
	s.scratch = Unescape(s.scratch[:0], s.in[s.from:s.to])
	return s.scratch
}

// Next reads the next token. After the value's last token it returns End, once
// it has made sure that nothing follows.
func (s *Scanner) Next() (Kind, error) {
	s.key, s.escaped = false, false
	if s.lastClosed() {
		// The frame of an ended object or array is popped by the call after it,
		// so that Depth counts the end token itself.
		s.pop()
	}
	s.space()
	if len(s.stack) == 0 {
		return s.top()
	}
	f := &s.stack[len(s.stack)-1]
	if f.object {
		return s.member(f)
	}
	return s.element(f)
}

// Skip moves past the rest of the value whose first token is current, and
// returns the whole of it. For a key it skips the member's value and returns
// only that.
func (s *Scanner) Skip() ([]byte, error) {
	if s.key {
		if _, err := s.Next(); err != nil {
			return nil, err
		}
	}
	from := s.from
	if c := s.in[s.from]; c != '{' && c != '[' {
		return s.Raw(), nil
	}
	for depth := len(s.stack); ; {
		kind, err := s.Next()
		if err != nil {
			return nil, err
		}
		if (kind == ObjectEnd || kind == ArrayEnd) && len(s.stack) == depth {
			return s.in[from:s.to], nil
		}
	}
}

func (s *Scanner) lastClosed() bool {
	return s.to > s.from && len(s.stack) > 0 && (s.in[s.from] == '}' || s.in[s.from] == ']')
}

func (s *Scanner) pop() {
	s.keys = s.keys[:s.stack[len(s.stack)-1].keys]
	s.stack = s.stack[:len(s.stack)-1]
	if len(s.stack) == 0 {
		s.done = true
	}
}

func (s *Scanner) top() (Kind, error) {
	if !s.done {
		kind, err := s.value("a JSON value")
		if err == nil && len(s.stack) == 0 {
			s.done = true
		}
		return kind, err
	}
	if s.pos < len(s.in) {
		return End, s.errorAt(s.pos, "there is more after the end of the JSON value")
	}
	s.from, s.to = s.pos, s.pos
	return End, nil
}

func (s *Scanner) member(f *frame) (Kind, error) {
	if s.afterKey {
		if s.pos >= len(s.in) || s.in[s.pos] != ':' {
			return End, s.expected("':' after the key")
		}
		s.pos++
		s.space()
		s.afterKey = false
		return s.value("the member's value")
	}
	if s.pos < len(s.in) && s.in[s.pos] == '}' {
		return s.single(ObjectEnd), nil
	}
	if f.count > 0 {
		if s.pos >= len(s.in) || s.in[s.pos] != ',' {
			return End, s.expected("',' or '}' in an object")
		}
		s.pos++
		s.space()
	}
	if s.pos >= len(s.in) || s.in[s.pos] != '"' {
		return End, s.expected("a key in double quotes")
	}
	if err := s.str(); err != nil {
		return End, err
	}
	f.count++
	s.key, s.afterKey = true, true
	if s.valid {
		return String, nil
	}
	return String, s.unique(f)
}

func (s *Scanner) element(f *frame) (Kind, error) {
	if s.pos < len(s.in) && s.in[s.pos] == ']' {
		return s.single(ArrayEnd), nil
	}
	if f.count > 0 {
		if s.pos >= len(s.in) || s.in[s.pos] != ',' {
			return End, s.expected("',' or ']' in an array")
		}
		s.pos++
		s.space()
	}
	f.count++
	return s.value("an array's element")
}

// unique refuses a key that its object has already. Small objects compare with
// each key; big ones use a map, so that a hostile object costs linear time.
func (s *Scanner) unique(f *frame) error {
	name := s.in[s.from:s.to]
	if s.escaped {
		s.keyUnique = Unescape(append(s.keyUnique[:0], '"'), name)
		s.keyUnique = append(s.keyUnique, '"')
		name = s.keyUnique
	}
	if f.count <= manyKeys {
		tag := tagOf(name)
		for i := f.keys; i < len(s.keys); i++ {
			if k := &s.keys[i]; k.tag == tag && s.sameKey(*k, name) {
				return s.duplicate(name)
			}
		}
		s.keys = append(s.keys, span{s.from, s.to, tag})
		return nil
	}
	if s.seen == nil {
		s.seen = make(map[string]struct{})
	}
	prefix := strconv.Itoa(f.number)
	if f.count == manyKeys+1 {
		for _, k := range s.keys[f.keys:] {
			s.seen[prefix+string(s.canonical(k))] = struct{}{}
		}
	}
	id := prefix + string(name)
	if _, twice := s.seen[id]; twice {
		return s.duplicate(name)
	}
	s.seen[id] = struct{}{}
	return nil
}

func (s *Scanner) sameKey(k span, name []byte) bool {
	raw := s.in[k.from:k.to]
	if bytes.IndexByte(raw, '\\') < 0 {
		return bytes.Equal(raw, name)
	}
	return bytes.Equal(s.canonical(k), name)
}

func (s *Scanner) canonical(k span) []byte {
	raw := s.in[k.from:k.to]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	s.scratch = Unescape(append(s.scratch[:0], '"'), raw)
	s.scratch = append(s.scratch, '"')
	return s.scratch
}

func (s *Scanner) duplicate(name []byte) error {
	if len(name) > 66 {
		name = append(bytes.Clone(name[:62]), "…\""...)
	}
	return s.errorAt(s.from, fmt.Sprintf("the key %s is there twice", name))
}

func (s *Scanner) single(kind Kind) Kind {
	s.from, s.to = s.pos, s.pos+1
	s.pos++
	return kind
}

func (s *Scanner) value(what string) (Kind, error) {
	if s.pos >= len(s.in) {
		return End, s.expected(what)
	}
	switch c := s.in[s.pos]; c {
	case '{', '[':
		if len(s.stack) >= MaxDepth {
			return End, s.errorAt(s.pos, fmt.Sprintf("nested deeper than %d levels", MaxDepth))
		}
		s.objects++
		s.stack = append(s.stack, frame{object: c == '{', keys: len(s.keys), number: s.objects})
		return s.single(Kind(c)), nil
	case '"':
		return String, s.str()
	case 't':
		return True, s.word("true")
	case 'f':
		return False, s.word("false")
	case 'n':
		return Null, s.word("null")
	default:
		if c == '-' || c >= '0' && c <= '9' {
			return Number, s.number()
		}
		return End, s.expected(what)
	}
}

func (s *Scanner) word(w string) error {
	if len(s.in)-s.pos < len(w) || string(s.in[s.pos:s.pos+len(w)]) != w {
		return s.errorAt(s.pos, "not JSON: expected "+w)
	}
	s.from, s.to = s.pos, s.pos+len(w)
	s.pos = s.to
	return nil
}

func (s *Scanner) space() {
	for s.pos < len(s.in) {
		switch s.in[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// quick reads a string of valid input that holds no escape.
func (s *Scanner) quick() bool {
	text := s.in[s.pos+1:]
	end := bytes.IndexByte(text, '"')
	if end < 0 || bytes.IndexByte(text[:end], '\\') >= 0 {
		return false
	}
	s.from, s.to = s.pos, s.pos+end+2
	s.pos = s.to
	return true
}

func (s *Scanner) str() error {
	if s.valid && s.quick() {
		return nil
	}
	in, i := s.in, s.pos+1
	s.from = s.pos
	for i < len(in) {
		c := in[i]
		switch {
		case plain[c]:
			i++
		case c == '"':
			s.to, s.pos = i+1, i+1
			return nil
		case c == '\\':
			s.escaped = true
			n, msg := escape(in[i:])
			if msg != "" {
				return s.errorAt(i, msg)
			}
			i += n
		case c < 0x20:
			return s.errorAt(i, fmt.Sprintf("control character U+%04X in a string must be escaped", c))
		default:
			r, n := utf8.DecodeRune(in[i:])
			if r == utf8.RuneError && n <= 1 {
				return s.errorAt(i, fmt.Sprintf("byte 0x%02x is not valid UTF-8", c))
			}
			i += n
		}
	}
	return s.errorAt(len(in), "the input ends inside a string")
}

// escape measures the escape sequence at the start of b.
func escape(b []byte) (length int, problem string) {
	if len(b) < 2 {
		return 0, "the input ends inside a string"
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, ""
	case 'u':
	default:
		return 0, "unknown escape in a string"
	}
	r, ok := hex4(b[2:])
	switch {
	case !ok:
		return 0, `\u needs four hexadecimal digits`
	case r >= 0xDC00 && r <= 0xDFFF:
		return 0, "a lone surrogate is no character"
	case r < 0xD800 || r > 0xDBFF:
		return 6, ""
	}
	if len(b) < 12 || b[6] != '\\' || b[7] != 'u' {
		return 0, "a lone surrogate is no character"
	}
	if low, ok := hex4(b[8:]); !ok || low < 0xDC00 || low > 0xDFFF {
		return 0, "a lone surrogate is no character"
	}
	return 12, ""
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

func (s *Scanner) number() error {
	in, i := s.in, s.pos
	s.from = i
	if in[i] == '-' {
		i++
	}
	whole := digits(in[i:])
	if whole == 0 || whole > 1 && in[i] == '0' {
		return s.errorAt(s.from, "not a JSON number")
	}
	i += whole
	if i < len(in) && in[i] == '.' {
		n := digits(in[i+1:])
		if n == 0 {
			return s.errorAt(s.from, "not a JSON number: a digit must follow the point")
		}
		i += 1 + n
	}
	exponent := i < len(in) && (in[i] == 'e' || in[i] == 'E')
	if exponent {
		i++
		if i < len(in) && (in[i] == '+' || in[i] == '-') {
			i++
		}
		n := digits(in[i:])
		if n == 0 {
			return s.errorAt(s.from, "not a JSON number: the exponent has no digits")
		}
		i += n
	}
	if i-s.from > maxNumber {
		return s.errorAt(s.from, fmt.Sprintf("a number longer than %d characters", maxNumber))
	}
	if exponent { // without one, maxNumber digits stay far below 1e308
		if f, err := strconv.ParseFloat(string(in[s.from:i]), 64); err != nil && math.IsInf(f, 0) {
			return s.errorAt(s.from, "a number too large for a 64-bit float")
		}
	}
	s.to, s.pos = i, i
	return nil
}

func digits(b []byte) int {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	return n
}

func (s *Scanner) expected(what string) error {
	if s.pos >= len(s.in) {
		return s.errorAt(len(s.in), "the input ends where "+what+" should follow")
	}
	return s.errorAt(s.pos, "not JSON: expected "+what)
}

func (s *Scanner) errorAt(offset int, msg string) error {
	before := s.in[:offset]
	line := bytes.Count(before, []byte{'\n'})
	start := bytes.LastIndexByte(before, '\n') + 1
	return &Error{
		Offset: offset, Line: line + 1,
		Column: utf8.RuneCount(before[start:]) + 1, Msg: msg,
	}
}
