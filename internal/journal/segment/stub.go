package segment

import "errors"

type blockSet []uint64
type bodies interface{}

func (t *Table) open() (view, error)  { return nil, errors.ErrUnsupported }
func (r *Reader) open() (view, error) { return nil, errors.ErrUnsupported }
