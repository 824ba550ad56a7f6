package jq

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
)

// The limits of what an expression may make.
const (
	MaxResult       = 1 << 20 // bytes of a result, about as JSON
	maxIntermediate = 4 << 20 // bytes of any value on the way
	maxDepth        = 256     // arrays and objects inside each other
)

var (
	errTooLarge = errors.New("the value is larger than an expression may make")
	errTooDeep  = fmt.Errorf("the value is nested deeper than %d levels", maxDepth)
)

// Decode reads one JSON value as this package wants its values: nil, bool, int,
// float64, string, []any and map[string]any.
func Decode(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decode: more than one value")
	}
	return Settle(v), nil
}

// Settle replaces json.Number, in place, in a value that nobody else has seen yet.
func Settle(v any) any {
	switch v := v.(type) {
	case json.Number:
		return Number(v)
	case []any:
		for i := range v {
			v[i] = Settle(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = Settle(v[k])
		}
	}
	return v
}

// Number is a JSON number as int where it is one, else as float64; what is
// beyond a float64 is the largest one.
func Number(n json.Number) any {
	if i, err := n.Int64(); err == nil {
		return int(i)
	}
	f, err := n.Float64()
	if err != nil {
		return math.Copysign(math.MaxFloat64, f)
	}
	return f
}

// Size is about how many bytes v has as JSON. It stops counting above most, so
// that a value which holds itself a million times over costs no more than that.
func Size(v any, most int) (int, error) {
	s := scale{left: most}
	if err := s.weigh(v, maxDepth); err != nil {
		return 0, err
	}
	return most - s.left, nil
}

// A scale weighs a value until it has become too much.
type scale struct {
	left int  // bytes that may still come
	odd  bool // a number was seen that JSON or the next program can't take
}

func (s *scale) weigh(v any, depth int) error {
	switch v := v.(type) {
	case nil, bool, int:
		s.left -= 8
	case string:
		s.left -= len(v) + 2
	case []any:
		if depth == 0 {
			return errTooDeep
		}
		s.left -= 2 + len(v)
		for _, item := range v {
			if s.left < 0 {
				return errTooLarge
			}
			if err := s.weigh(item, depth-1); err != nil {
				return err
			}
		}
	case map[string]any:
		if depth == 0 {
			return errTooDeep
		}
		s.left -= 2
		for k, item := range v {
			if s.left -= len(k) + 4; s.left < 0 {
				return errTooLarge
			}
			if err := s.weigh(item, depth-1); err != nil {
				return err
			}
		}
	case float64:
		s.left -= 8
		s.odd = s.odd || v-v != 0
	case *big.Int:
		s.left -= v.BitLen()/3 + 1
		s.odd = true
	case json.Number:
		s.left -= len(v)
		s.odd = true
	default:
		return fmt.Errorf("a %T is no JSON", v)
	}
	if s.left < 0 {
		return errTooLarge
	}
	return nil
}

// Equal says whether two values are the same JSON; 1 and 1.0 are.
func Equal(a, b any) bool {
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !Equal(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			w, ok := b[k]
			if !ok || !Equal(v, w) {
				return false
			}
		}
		return true
	case int:
		if f, ok := b.(float64); ok {
			return float64(a) == f
		}
		return a == b
	case float64:
		if i, ok := b.(int); ok {
			return a == float64(i)
		}
		return a == b
	case *big.Int:
		b, ok := b.(*big.Int)
		return ok && a.Cmp(b) == 0
	}
	return a == b
}

// plain is v with whole numbers that are larger than an int, and numbers that are
// no JSON (NaN, infinite), replaced by what JSON can say. v stays as it is.
func plain(v any) any {
	switch v := v.(type) {
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return plain(f)
	case json.Number:
		return Number(v)
	case float64:
		if math.IsNaN(v) {
			return nil
		}
		return min(max(v, -math.MaxFloat64), math.MaxFloat64)
	case []any:
		fresh := make([]any, len(v))
		for i, item := range v {
			fresh[i] = plain(item)
		}
		return fresh
	case map[string]any:
		fresh := make(map[string]any, len(v))
		for k, item := range v {
			fresh[k] = plain(item)
		}
		return fresh
	}
	return v
}
