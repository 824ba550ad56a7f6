package filter

import (
	"fmt"
	"reflect"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// opaque carries an Input through CEL to the functions that need the event.
type opaque struct{ in *Input }

var _ ref.Val = opaque{}

func (opaque) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("an event is no %s", t)
}

func (opaque) ConvertToType(ref.Type) ref.Val { return types.NewErr("an event has no other type") }
func (o opaque) Equal(other ref.Val) ref.Val  { return types.Bool(o == other) }
func (opaque) Type() ref.Type                 { return cel.OpaqueType("event") }
func (o opaque) Value() any                   { return o.in }
