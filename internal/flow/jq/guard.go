package jq

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/itchyny/gojq"
)

// gojq can be stopped between two of its steps, but one step can make gigabytes
// (a string times a billion) or compute for hours (an array minus an array). The
// functions here stand in for such steps, or before or after them, and refuse.
const (
	maxText   = 16 << 10 // bytes of a text in which all matches are looked for: gojq counts its runes for each
	maxCells  = 1 << 20  // of a transposed matrix
	maxPairs  = 1 << 22  // values compared with values in one step
	maxBits   = 4096     // of a whole number
	maxDigits = 1_000    // of a number in a text
	maxIndex  = 100_000  // of an array that is written to
	maxFormat = 1 << 10  // bytes of a format of times
)

// guards are the functions that rewrite puts into programs.
func guards() []gojq.CompilerOption {
	return []gojq.CompilerOption{
		gojq.WithFunction("_tocsin_size", 0, 0, func(v any, _ []any) any { return sized(v) }),
		gojq.WithFunction("_tocsin_each", 1, 1, func(v any, args []any) any {
			if m, ok := args[0].(*Meter); ok {
				if err := m.grow(v); err != nil {
					return err
				}
			}
			return v
		}),
		gojq.WithFunction("_tocsin_add", 2, 2, func(_ any, args []any) any { return add(args[0], args[1]) }),
		gojq.WithFunction("_tocsin_subtract", 2, 2, func(_ any, args []any) any { return subtract(args[0], args[1]) }),
		gojq.WithFunction("_tocsin_multiply", 2, 2, func(_ any, args []any) any { return multiply(args[0], args[1]) }),
		gojq.WithFunction("_tocsin_text", 0, 0, func(v any, _ []any) any { return limited(v, maxText) }),
		gojq.WithFunction("_tocsin_digits", 0, 0, func(v any, _ []any) any { return digits(v) }),
		gojq.WithFunction("_tocsin_format", 1, 1, func(v any, args []any) any {
			if bad, isError := limited(args[0], maxFormat).(error); isError {
				return bad
			}
			return v
		}),
		gojq.WithFunction("_tocsin_pairs", 1, 1, func(v any, args []any) any { return pairs(v, args[0]) }),
		gojq.WithFunction("_tocsin_matrix", 0, 0, func(v any, _ []any) any { return matrix(v) }),
		gojq.WithFunction("_tocsin_index", 0, 0, func(v any, _ []any) any { return index(v) }),
		gojq.WithFunction("_tocsin_join", 1, 1, func(v any, args []any) any { return joined(v, args[0]) }),
	}
}

func sized(v any) any {
	switch v.(type) {
	case nil, bool, int, float64:
		return v
	}
	if _, err := Size(v, maxIntermediate); err != nil {
		return err
	}
	return v
}

func add(l, r any) any {
	switch x := l.(type) {
	case nil:
		return r
	case int:
		if y, ok := r.(int); ok && small(x) && small(y) {
			return x + y
		}
	case float64:
		if y, ok := r.(float64); ok {
			return x + y
		}
	case string:
		if y, ok := r.(string); ok {
			if len(x)+len(y) > maxIntermediate {
				return errTooLarge
			}
			return x + y
		}
	case []any:
		if y, ok := r.([]any); ok {
			return sized(slices.Concat(x, y))
		}
	case map[string]any:
		if y, ok := r.(map[string]any); ok {
			sum := make(map[string]any, len(x)+len(y))
			maps.Copy(sum, x)
			maps.Copy(sum, y)
			return sized(sum)
		}
	}
	if r == nil {
		return l
	}
	return plainly(".[0] + .[1]", l, r)
}

// small numbers can be added without an overflow.
func small(n int) bool { return -1<<61 < n && n < 1<<61 }

func subtract(l, r any) any {
	switch x := l.(type) {
	case int:
		if y, ok := r.(int); ok && small(x) && small(y) {
			return x - y
		}
	case float64:
		if y, ok := r.(float64); ok {
			return x - y
		}
	case []any:
		if bad, isError := pairs(l, r).(error); isError {
			return bad
		}
	}
	return plainly(".[0] - .[1]", l, r)
}

func multiply(l, r any) any {
	switch x := l.(type) {
	case float64:
		if y, ok := r.(float64); ok {
			return x * y
		}
	case string:
		return repeat(x, r)
	}
	if y, ok := r.(string); ok {
		return repeat(y, l)
	}
	if bits(l)+bits(r) > maxBits {
		return fmt.Errorf("a whole number of more than %d bits", maxBits)
	}
	return sizedUnlessError(plainly(".[0] * .[1]", l, r))
}

func repeat(s string, times any) any {
	if n, ok := gojq.ToFloat64(times); ok && float64(len(s))*n > maxIntermediate {
		return errTooLarge
	}
	return plainly(".[0] * .[1]", s, times)
}

func bits(v any) int {
	if b, ok := v.(*big.Int); ok {
		return b.BitLen()
	}
	return 64
}

func sizedUnlessError(v any) any {
	if _, isError := v.(error); isError {
		return v
	}
	return sized(v)
}

// plainly lets gojq itself do what is rare, so that its numbers and its error
// messages are the same everywhere.
func plainly(program string, operands ...any) any {
	query, err := gojq.Parse(program)
	if err != nil {
		return err
	}
	v, _ := query.Run(operands).Next()
	return v
}

// pairs refuses to compare every value of one array with every one of another
// when that would take long.
func pairs(l, r any) any {
	x, _ := l.([]any)
	y, _ := r.([]any)
	if len(x)*len(y) > maxPairs {
		return fmt.Errorf("arrays of %d and %d values are too long to compare all with all", len(x), len(y))
	}
	if len(x) > 0 && len(y) > 0 {
		small, _ := Size(x, maxIntermediate)
		large, _ := Size(y, maxIntermediate)
		if float64(small)*float64(large) > 64*maxPairs*64 {
			return errors.New("the arrays are too large to compare all with all")
		}
	}
	return l
}

func matrix(v any) any {
	rows, _ := v.([]any)
	longest := 0
	for _, row := range rows {
		if row, ok := row.([]any); ok {
			longest = max(longest, len(row))
		}
	}
	if longest*len(rows) > maxCells {
		return errTooLarge
	}
	return v
}

func index(v any) any {
	if path, ok := v.([]any); ok {
		for _, part := range path {
			if bad, isError := index(part).(error); isError {
				return bad
			}
		}
		return v
	}
	if n, ok := gojq.ToFloat64(v); ok && n > maxIndex {
		return fmt.Errorf("an index of more than %d", maxIndex)
	}
	return v
}

func joined(v, separator any) any {
	parts, _ := v.([]any)
	s, _ := separator.(string)
	if len(parts)*len(s) > maxIntermediate {
		return errTooLarge
	}
	return v
}

// digits refuses texts with numbers so long that reading one takes seconds.
func digits(v any) any {
	s, _ := v.(string)
	run := 0
	for i := range len(s) {
		if run++; s[i] < '0' || s[i] > '9' {
			run = 0
		}
		if run > maxDigits {
			return fmt.Errorf("a number of more than %d digits", maxDigits)
		}
	}
	return v
}

func limited(v any, most int) any {
	if s, ok := v.(string); ok && len(s) > most {
		return fmt.Errorf("a text of %d bytes is too long for this; at most %d", len(s), most)
	}
	return v
}
