package follow

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/tocsin-events/tocsin/internal/state"
)

// errOvertaken says that another node has followed in the meantime.
var errOvertaken = errors.New("another node follows: the lease was lost")

// advance moves the cursor with what came of a batch, unless another node has
// taken over since the lease was renewed: a node that was halted for a while does
// not know that.
func (f *Follower) advance(tx *state.Tx) error {
	var seq sql.NullInt64
	var owner sql.NullString
	err := tx.QueryRowContext(tx.Context(), `SELECT (SELECT seq FROM cursors WHERE name = $1), (SELECT owner FROM leases WHERE name = $1)`, f.o.Name).Scan(&seq, &owner)
	if err != nil {
		return fmt.Errorf("cursor %s: %w", f.o.Name, err)
	}
	if owner.String != f.o.Owner || seq.Int64 != int64(f.stored) {
		return errOvertaken
	}
	return tx.Advance(f.o.Name, f.at)
}
