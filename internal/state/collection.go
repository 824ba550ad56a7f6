package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// ObjectID names an object within its model. In JSON it is a string.
type ObjectID int64

// String is the id in decimal digits.
func (id ObjectID) String() string { return strconv.FormatInt(int64(id), 10) }

// ParseID reads an object's id. What is no id names nothing: the error is of
// class event.ErrNotFound.
func ParseID(text string) (ObjectID, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, event.NotFoundf("there is nothing with the id %q", text)
	}
	return ObjectID(n), nil
}

// Collection is all objects of one model. T is a struct that marshals to JSON;
// its members are what audit diffs are made of.
type Collection[T any] struct {
	App   string // group of models, such as "identity"
	Model string // such as "user"
	// Name is what people call an object.
	Name func(*T) string
	// Keys are what an object can be found by, each unique within the model;
	// an empty value is no key. May be nil.
	Keys func(*T) map[string]string
	// Check refuses what must not be stored, with an error of class
	// event.ErrInvalid. May be nil.
	Check func(*T) error
	// Relations are the members that are lists of ids of other objects, each with
	// what gives the name of one; empty for one that is gone. Their diffs say
	// what was added and removed. May be nil.
	Relations map[string]func(tx *Tx, id string) string
	// Quiet models leave no audit event: what is internal.
	Quiet bool
}

// Record is one stored object.
type Record[T any] struct {
	ID      ObjectID
	Version int64 // grows with each change; the ETag
	Created time.Time
	Updated time.Time
	Value   T
}

const columns = `id, version, created, updated, doc`

func scanRecord[T any](scan func(...any) error) (Record[T], error) {
	var r Record[T]
	var created, updated int64
	var doc string
	if err := scan(&r.ID, &r.Version, &created, &updated, &doc); err != nil {
		return r, err
	}
	r.Created, r.Updated = time.Unix(0, created).UTC(), time.Unix(0, updated).UTC()
	if err := json.Unmarshal([]byte(doc), &r.Value); err != nil {
		return r, fmt.Errorf("stored object %d: %w", r.ID, err)
	}
	return r, nil
}

// Get returns the object with an id; event.ErrNotFound where there is none.
func (c *Collection[T]) Get(ctx context.Context, q Querier, id ObjectID) (Record[T], error) {
	row := q.QueryRowContext(ctx, `SELECT `+columns+` FROM objects WHERE model = $1 AND id = $2`, c.Model, int64(id))
	r, err := scanRecord[T](row.Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return r, event.NotFoundf("there is no %s %d", c.Model, id)
	}
	return r, err
}

// Find returns the object with a key; event.ErrNotFound where there is none.
func (c *Collection[T]) Find(ctx context.Context, q Querier, key, value string) (Record[T], error) {
	row := q.QueryRowContext(ctx, `SELECT o.id, o.version, o.created, o.updated, o.doc FROM object_keys k
		JOIN objects o ON o.model = k.model AND o.id = k.id WHERE k.model = $1 AND k.name = $2 AND k.value = $3`, c.Model, key, value)
	r, err := scanRecord[T](row.Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return r, event.NotFoundf("there is no %s with this %s", c.Model, key)
	}
	return r, err
}

// List returns up to limit objects behind an id, in the order of their ids.
func (c *Collection[T]) List(ctx context.Context, q Querier, after ObjectID, limit int) ([]Record[T], error) {
	rows, err := q.QueryContext(ctx, `SELECT `+columns+` FROM objects WHERE model = $1 AND id > $2 ORDER BY id LIMIT $3`, c.Model, int64(after), limit)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", c.Model, err)
	}
	defer rows.Close()
	var all []Record[T]
	for rows.Next() {
		r, err := scanRecord[T](rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// Insert stores a new object and raises model_created.
func (c *Collection[T]) Insert(tx *Tx, value T) (Record[T], error) {
	now := time.Now().UTC()
	r := Record[T]{Version: 1, Created: now, Updated: now, Value: value}
	if err := c.check(&value); err != nil {
		return r, err
	}
	id, err := tx.Next("object:"+c.Model, 1)
	if err != nil {
		return r, err
	}
	r.ID = ObjectID(id)
	doc, err := json.Marshal(value)
	if err != nil {
		return r, fmt.Errorf("insert %s: %w", c.Model, err)
	}
	_, err = tx.exec("insert "+c.Model, `INSERT INTO objects (model, id, version, name, created, updated, doc) VALUES ($1, $2, 1, $3, $4, $4, $5)`,
		c.Model, id, c.Name(&value), now.UnixNano(), string(doc))
	if err != nil {
		return r, err
	}
	if err := c.putKeys(tx, r.ID, &value); err != nil {
		return r, err
	}
	return r, c.audit(tx, "model_created", r.ID, &value, nil, doc)
}

// AnyVersion lets Update and Delete accept whatever version is stored.
const AnyVersion = 0

// Update changes an object by change and raises model_updated, unless nothing
// differs. version is the one that the caller has seen; another one stored is
// an event.ErrConflict.
func (c *Collection[T]) Update(tx *Tx, id ObjectID, version int64, change func(*T) error) (Record[T], error) {
	r, err := c.current(tx, id, version)
	if err != nil {
		return r, err
	}
	before, err := json.Marshal(r.Value)
	if err != nil {
		return r, fmt.Errorf("update %s: %w", c.Model, err)
	}
	if err := change(&r.Value); err != nil {
		return r, err
	}
	if err := c.check(&r.Value); err != nil {
		return r, err
	}
	after, err := json.Marshal(r.Value)
	if err != nil || string(after) == string(before) {
		return r, err
	}
	r.Version, r.Updated = r.Version+1, time.Now().UTC()
	_, err = tx.exec("update "+c.Model, `UPDATE objects SET version = $3, name = $4, updated = $5, doc = $6 WHERE model = $1 AND id = $2`,
		c.Model, int64(id), r.Version, c.Name(&r.Value), r.Updated.UnixNano(), string(after))
	if err != nil {
		return r, err
	}
	if err := c.dropKeys(tx, id); err != nil {
		return r, err
	}
	if err := c.putKeys(tx, id, &r.Value); err != nil {
		return r, err
	}
	return r, c.audit(tx, "model_updated", id, &r.Value, before, after)
}

// Delete removes an object, raises model_deleted, and returns what it was.
func (c *Collection[T]) Delete(tx *Tx, id ObjectID, version int64) (Record[T], error) {
	r, err := c.current(tx, id, version)
	if err != nil {
		return r, err
	}
	before, err := json.Marshal(r.Value)
	if err != nil {
		return r, fmt.Errorf("delete %s: %w", c.Model, err)
	}
	if _, err := tx.exec("delete "+c.Model, `DELETE FROM objects WHERE model = $1 AND id = $2`, c.Model, int64(id)); err != nil {
		return r, err
	}
	if err := c.dropKeys(tx, id); err != nil {
		return r, err
	}
	return r, c.audit(tx, "model_deleted", id, &r.Value, before, nil)
}

func (c *Collection[T]) current(tx *Tx, id ObjectID, version int64) (Record[T], error) {
	r, err := c.Get(tx.ctx, tx, id)
	if err != nil {
		return r, err
	}
	if version != AnyVersion && version != r.Version {
		return r, event.Conflictf("%s %d was changed in the meantime: read it again, then repeat the change", c.Model, id)
	}
	return r, nil
}

func (c *Collection[T]) check(value *T) error {
	if c.Check == nil {
		return nil
	}
	return c.Check(value)
}

func (c *Collection[T]) putKeys(tx *Tx, id ObjectID, value *T) error {
	if c.Keys == nil {
		return nil
	}
	for name, v := range c.Keys(value) {
		if v == "" {
			continue
		}
		r, err := tx.exec("index "+c.Model, `INSERT INTO object_keys (model, name, value, id) VALUES ($1, $2, $3, $4)
			ON CONFLICT (model, name, value) DO NOTHING`, c.Model, name, v, int64(id))
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil || n == 0 {
			return errors.Join(event.Conflictf("another %s has this %s already", c.Model, name), err)
		}
	}
	return nil
}

func (c *Collection[T]) dropKeys(tx *Tx, id ObjectID) error {
	_, err := tx.exec("index "+c.Model, `DELETE FROM object_keys WHERE model = $1 AND id = $2`, c.Model, int64(id))
	return err
}
