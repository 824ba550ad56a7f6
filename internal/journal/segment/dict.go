package segment

// dictionary gives the values of a column their codes, from 0 without a gap.
type dictionary interface {
	lookup(value string) (code uint32, ok bool)
	at(code uint32) (string, error)
	len() int
}

// list is the dictionary of a Table: values in the order in which they came.
type list []string

func (l list) len() int { return len(l) }

func (l list) at(code uint32) (string, error) { return l[code], nil }

// lookup goes through all values: the map that the writer has is not for
// readers, and a table is small.
func (l list) lookup(value string) (uint32, bool) {
	for i := range l {
		if l[i] == value {
			return uint32(i), true
		}
	}
	return 0, false
}

// interner is the writer's side of a list.
type interner struct {
	codes  map[string]uint32
	values list
}

func (n *interner) code(value string) uint32 {
	if c, ok := n.codes[value]; ok {
		return c
	}
	if n.codes == nil {
		n.codes = make(map[string]uint32)
	}
	c := uint32(len(n.values))
	own := string([]byte(value)) // an attribute shares memory with its whole event
	n.codes[own] = c
	n.values = append(n.values, own)
	return c
}
