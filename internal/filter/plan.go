package filter

import "github.com/tocsin-events/tocsin/internal/event"

// Outcome is the set of results that a condition can still have for an event,
// or for a whole block of events, as far as an index knows. An index answers
// with a set, because it may know little: a Bloom filter that has not seen a
// value proves that a comparison is not true, yet not that it is false, since
// an absent field makes it an error.
type Outcome uint8

// The members of an Outcome.
const (
	CanBeTrue Outcome = 1 << iota
	CanBeFalse
	CanFail

	Unknown = CanBeTrue | CanBeFalse | CanFail // nothing is known
)

// Never reports that the condition is true of no event that the outcome is
// about: they can be passed over.
func (o Outcome) Never() bool { return o&CanBeTrue == 0 }

// Always reports that the condition is true of every event that the outcome is
// about: they need no further look.
func (o Outcome) Always() bool { return o == CanBeTrue }

func (o Outcome) not() Outcome {
	r := o & CanFail
	if o&CanBeTrue != 0 {
		r |= CanBeFalse
	}
	if o&CanBeFalse != 0 {
		r |= CanBeTrue
	}
	return r
}

// and combines as CEL's && does: false wins over an error.
func (o Outcome) and(p Outcome) Outcome {
	r := o & p & CanBeTrue
	r |= (o | p) & CanBeFalse
	if o&CanFail != 0 && p&(CanBeTrue|CanFail) != 0 || p&CanFail != 0 && o&(CanBeTrue|CanFail) != 0 {
		r |= CanFail
	}
	return r
}

// Op is the sort of a plan's node.
type Op uint8

// The operations. Those from OpIn on are leaves, which an index may answer.
const (
	OpUnknown   Op = iota // a part that no index can answer
	OpConst               // Values is empty: true of every event when Min is 1, of none when 0
	OpAnd                 // all Kids
	OpOr                  // any of Kids
	OpNot                 // not the one in Kids
	OpNeeds               // true only where the one in Kids is true; else nothing is known
	OpIn                  // the attribute Column equals one of Values
	OpSeverity            // Min <= severity number <= Max
	OpTime                // Min <= time <= Max, in nanoseconds since 1970
	OpData                // the data member at Path equals Values[0] (its JSON text; a string without its quotes)
	OpGlob                // the attribute Column matches the pattern Values[0] (see Glob)
	OpText                // a string value of data holds Values[0], ignoring case
	OpAttribute           // the attribute named Path, which is in no column, equals Values[0]
)

// Column names the attributes that the journal keeps in columns of their own.
type Column uint8

// The columns.
const (
	ColumnType Column = iota
	ColumnKind
	ColumnSource
	ColumnActor    // authid
	ColumnClientIP // clientip
	ColumnID
)

// Node is one condition of an index plan.
type Node struct {
	Op       Op
	Kids     []*Node
	Column   Column
	Values   []string
	Min, Max int64
	Path     string // of OpData: member names joined by "."; of OpAttribute: a name
}

// Attribute is the name of the attribute that a column holds.
func (c Column) Attribute() string {
	return [...]string{"type", "kind", "source", "authid", "clientip", "id"}[c]
}

// Value returns the value of a column in an event.
func (c Column) Value(e *event.Event) string {
	switch c {
	case ColumnType:
		return string(e.Type)
	case ColumnKind:
		return string(e.Kind)
	case ColumnSource:
		return e.Source
	case ColumnActor:
		return e.AuthID
	case ColumnClientIP:
		return e.ClientIP
	default:
		return string(e.ID)
	}
}

// Eval asks leaf about every leaf that matters and combines the answers. leaf
// must answer with a set that holds the true result; Unknown is always right.
func (n *Node) Eval(leaf func(*Node) Outcome) Outcome {
	switch n.Op {
	case OpUnknown:
		return Unknown
	case OpConst:
		if n.Min == 1 {
			return CanBeTrue
		}
		return CanBeFalse
	case OpNot:
		return n.Kids[0].Eval(leaf).not()
	case OpNeeds:
		if n.Kids[0].Eval(leaf).Never() {
			return CanBeFalse | CanFail
		}
		return Unknown
	case OpAnd:
		all := CanBeTrue
		for _, kid := range n.Kids {
			if all = all.and(kid.Eval(leaf)); all == CanBeFalse {
				break
			}
		}
		return all
	case OpOr: // a || b is !(!a && !b), with errors, too
		none := CanBeTrue
		for _, kid := range n.Kids {
			if none = none.and(kid.Eval(leaf).not()); none == CanBeFalse {
				break
			}
		}
		return none.not()
	default:
		return leaf(n)
	}
}
