package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tocsin-events/tocsin/internal/licence"
)

// pkg is one line of go list -json (go help list).
type pkg struct {
	Dir    string
	Module *struct {
		Path, Version, Dir, GoVersion string
		Main                          bool
	}
}

// goText is the module whose licence is the same text as the standard library's;
// that one is not always beside the compiler.
const goText = "golang.org/x/sys"

// modules lists the modules that are linked on any of the platforms that are
// packaged.
func modules(root string) ([]licence.Licence, error) {
	found := map[string]*licence.Licence{}
	files := map[string]map[string]bool{} // of a module: licence files
	goVersion := ""
	for _, arch := range []string{"amd64", "arm64"} {
		list, err := linked(root, arch)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			m := p.Module
			switch {
			case m == nil: // the standard library
				continue
			case m.Main:
				goVersion = m.GoVersion
				continue
			case found[m.Path] == nil:
				found[m.Path] = &licence.Licence{Name: m.Path, Version: m.Version, Kind: licence.Module}
				files[m.Path] = map[string]bool{}
			}
			if err := climb(p.Dir, m.Dir, files[m.Path]); err != nil {
				return nil, err
			}
		}
	}
	all := make([]licence.Licence, 0, len(found)+1)
	for path, l := range found {
		if err := read(l, files[path]); err != nil {
			return nil, err
		}
		all = append(all, *l)
		if path == goText {
			all = append(all, licence.Licence{Name: "go", Version: goVersion, SPDX: l.SPDX, Kind: licence.Module, Text: l.Text})
		}
	}
	slices.SortFunc(all, func(a, b licence.Licence) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func linked(root, arch string) ([]pkg, error) {
	cmd := exec.CommandContext(context.Background(), "go", "list", "-deps", "-json=Dir,Module", program)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, problems.String())
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		all = append(all, p)
	}
}

var licenceFile = regexp.MustCompile(`(?i)^((un)?licen[cs]e|copying|notice|patents|[a-z]+-licen[cs]e)([-._].*)?$`)

// climb adds the licence files of a package's folder and of those above it, up
// to its module's.
func climb(dir, module string, into map[string]bool) error {
	for ; strings.HasPrefix(dir, module); dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Type().IsRegular() && licenceFile.MatchString(e.Name()) && !strings.HasSuffix(e.Name(), ".go") {
				into[filepath.Join(dir, e.Name())] = true
			}
		}
	}
	return nil
}

// read joins the texts of licence files, the shortest path first, and finds out
// which licences they are.
func read(l *licence.Licence, files map[string]bool) error {
	var paths, texts, ids []string
	for path := range files {
		paths = append(paths, path)
	}
	slices.SortFunc(paths, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, "/"), strings.Count(b, "/")), cmp.Compare(a, b))
	})
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text := strings.ToValidUTF8(strings.TrimSpace(strings.ReplaceAll(string(raw), "\r\n", "\n")), "\uFFFD") + "\n"
		if slices.Contains(texts, text) {
			continue
		}
		texts = append(texts, text)
		for _, id := range identify(text) {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return fmt.Errorf("%s: %w", l.Name, errUnknown)
	}
	l.SPDX, l.Text = strings.Join(ids, " AND "), strings.Join(texts, "\n")
	return nil
}

var spaces = regexp.MustCompile(`[\s*#>]+`)

// identify names the licences in a text by what is said in no other one.
func identify(text string) (ids []string) {
	text = strings.ToLower(spaces.ReplaceAllString(text, " "))
	has := func(part string) bool { return strings.Contains(text, part) }
	for _, l := range []struct {
		id string
		is bool
	}{
		{"Apache-2.0", has("apache license") && has("version 2.0") && (has("terms and conditions for use") || has("licensed under the apache license"))},
		{"MIT", has("permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated")},
		{"BSD-3-Clause", has("redistribution and use in source and binary forms") && (has("neither the name") || has("may be used to endorse or promote"))},
		{"BSD-2-Clause", has("redistribution and use in source and binary forms") && !has("neither the name") && !has("may be used to endorse or promote")},
		{"ISC", has("permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted, provided") || has("permission to use, copy, modify, and distribute this software for any purpose with or without fee is hereby granted, provided")},
		{"MPL-2.0", has("mozilla public license version 2.0") || has("mozilla public license, version 2.0")},
		{"Unlicense", has("this is free and unencumbered software released into the public domain")},
		{"blessing", has("may you do good and not evil") || has("all of the code and documentation in sqlite has been dedicated to the public domain")},
		{"CC-BY-SA-4.0", has("attribution-sharealike 4.0 international")},
	} {
		if l.is {
			ids = append(ids, l.id)
		}
	}
	return ids
}
