package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tocsin-events/tocsin/internal/licence"
)

// asset is one entry of assets.json. Files are relative to its folder, where
// NAME/LICENSE lies, too.
type asset struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Licence string   `json:"licence"` // SPDX expression
	Source  string   `json:"source"`  // the npm package
	Files   []string `json:"files"`
	SHA256  []string `json:"sha256"` // of each file, in hexadecimal digits
}

// assets lists the front-end assets of a folder; none where it has no
// assets.json.
func assets(dir string) ([]licence.Licence, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "assets.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []asset
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("assets.json: %w", err)
	}
	var all []licence.Licence
	for _, a := range list {
		l, err := a.licence(dir)
		if err != nil {
			return nil, fmt.Errorf("assets.json: %s: %w", a.Name, err)
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b licence.Licence) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func (a *asset) licence(dir string) (licence.Licence, error) {
	none := licence.Licence{}
	if a.Name == "" || a.Version == "" || a.Licence == "" || a.Source == "" || len(a.Files) == 0 || len(a.Files) != len(a.SHA256) {
		return none, errors.New("needs name, version, licence, source, files, and a sha256 for each file")
	}
	for i, name := range a.Files {
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return none, err
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != a.SHA256[i] {
			return none, fmt.Errorf("%s is not the file that is listed: its SHA-256 is %x", name, sum)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, a.Name, "LICENSE"))
	if err != nil {
		return none, fmt.Errorf("%w: %w", errUnknown, err)
	}
	return licence.Licence{Name: a.Name, Version: a.Version, SPDX: a.Licence, Kind: licence.Asset, Text: string(bytes.TrimSpace(text)) + "\n"}, nil
}
