// Package licence lists whose work the program holds, and under which terms:
// every Go module that is linked into it, and the front-end assets that it
// serves.
//
// It promises: the list is made by make gen from what is really linked, and a
// test fails when it is stale; each entry has the full text that its authors want
// handed on, notices included.
package licence

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
)

// The kinds of what is listed.
const (
	Module = "module" // a Go module, or Go's standard library
	Asset  = "asset"  // a file that browsers are given
)

// Licence is one piece of work of others.
type Licence struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	SPDX    string `json:"spdx"` // an expression of SPDX licence identifiers
	Kind    string `json:"kind"`
	Text    string `json:"text"`
}

//go:embed licences.json.gz
var packed []byte

// All gives the list, modules before assets, each kind by name.
func All() ([]Licence, error) { return Unpack(packed) }

// document is the list as it is stored: the same text once.
type document struct {
	Texts    []string `json:"texts"`
	Licences []entry  `json:"licences"`
}

type entry struct {
	Licence
	Text int `json:"text"` // in texts
}

// Pack stores a list.
func Pack(list []Licence) ([]byte, error) {
	var d document
	at := map[string]int{}
	for _, l := range list {
		if _, seen := at[l.Text]; !seen {
			at[l.Text] = len(d.Texts)
			d.Texts = append(d.Texts, l.Text)
		}
		e := entry{Licence: l, Text: at[l.Text]}
		d.Licences = append(d.Licences, e)
	}
	raw, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("licences: %w", err)
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(raw)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("licences: %w", err)
	}
	return out.Bytes(), nil
}

// Unpack reads what Pack has stored.
func Unpack(packed []byte) ([]Licence, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("licences: %w", err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("licences: %w", err)
	}
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("licences: %w", err)
	}
	list := make([]Licence, len(d.Licences))
	for i, e := range d.Licences {
		if e.Text < 0 || e.Text >= len(d.Texts) {
			return nil, fmt.Errorf("licences: %s has no text", e.Name)
		}
		list[i] = e.Licence
		list[i].Text = d.Texts[e.Text]
	}
	return list, nil
}
