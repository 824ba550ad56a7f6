package filter

import (
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// members is data as CEL sees it: a map. A member is decoded when it is asked
// for, since most filters ask for one or two of many.
type members struct {
	raw   []byte // an object that has been checked when it was recorded
	found []member
	whole traits.Mapper // everything, once it is needed
}

type member struct {
	name  string
	value ref.Val // nil where it is absent
}

// fewMembers is how many members are looked for one by one, before all are
// decoded.
const fewMembers = 4

var _ traits.Mapper = (*members)(nil)

// Find implements traits.Mapper.
func (m *members) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok || m.whole != nil {
		return m.all().Find(key)
	}
	for i := range m.found {
		if m.found[i].name == string(name) {
			return m.found[i].value, m.found[i].value != nil
		}
	}
	if len(m.found) == fewMembers {
		return m.all().Find(key)
	}
	value := decodeMember(m.raw, string(name))
	m.found = append(m.found, member{string(name), value})
	return value, value != nil
}

func decodeMember(object []byte, name string) ref.Val {
	sc := scan.GetValid(object)
	defer scan.Put(sc)
	if _, err := sc.Next(); err != nil {
		return nil
	}
	for {
		if kind, err := sc.Next(); err != nil || kind != scan.String {
			return nil
		}
		if string(sc.Text()) != name {
			if _, err := sc.Skip(); err != nil {
				return nil
			}
			continue
		}
		kind, err := sc.Next()
		if err != nil {
			return nil
		}
		return types.DefaultTypeAdapter.NativeToValue(decodeValue(sc, kind))
	}
}

func (m *members) all() traits.Mapper {
	if m.whole == nil {
		m.whole, _ = types.DefaultTypeAdapter.NativeToValue(decode(m.raw)).(traits.Mapper) // raw is an object
	}
	return m.whole
}

// Get implements traits.Indexer.
func (m *members) Get(key ref.Val) ref.Val {
	if value, ok := m.Find(key); ok {
		return value
	}
	return m.all().Get(key) // says what is wrong
}

// Contains implements traits.Container.
func (m *members) Contains(key ref.Val) ref.Val { return m.all().Contains(key) }

// Iterator implements traits.Iterable.
func (m *members) Iterator() traits.Iterator { return m.all().Iterator() }

// Size implements traits.Sizer.
func (m *members) Size() ref.Val { return m.all().Size() }

// ConvertToNative implements ref.Val.
func (m *members) ConvertToNative(t reflect.Type) (any, error) { return m.all().ConvertToNative(t) }

// ConvertToType implements ref.Val.
func (m *members) ConvertToType(t ref.Type) ref.Val { return m.all().ConvertToType(t) }

// Equal implements ref.Val.
func (m *members) Equal(other ref.Val) ref.Val { return m.all().Equal(other) }

// Type implements ref.Val.
func (m *members) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (m *members) Value() any { return m.all().Value() }
