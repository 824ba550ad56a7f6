package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/licence"
)

// The stored list says what is linked and vendored now.
func TestListIsFresh(t *testing.T) {
	now, err := collect("../../..")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := licence.All()
	if err != nil {
		t.Fatal(err)
	}
	brief := func(list []licence.Licence) (lines []string) {
		for _, l := range list {
			lines = append(lines, strings.Join([]string{l.Kind, l.Name, l.Version, l.SPDX}, " "))
		}
		return lines
	}
	if diff := cmp.Diff(brief(stored), brief(now)); diff != "" {
		t.Errorf("the list is stale, commit what make gen makes:\n%s", diff)
	} else if !slices.Equal(stored, now) {
		t.Error("a text of the list is stale: commit what make gen makes")
	}
}

func TestIdentify(t *testing.T) {
	const bsd = "Redistribution and use in source and binary forms, with or without modification, are permitted"
	for text, want := range map[string][]string{
		"MIT\n\nPermission is hereby granted, free of charge, to any person\n * obtaining a copy of this software and associated docs": {"MIT"},
		bsd: {"BSD-2-Clause"},
		bsd + " Neither name of X nor the names of its contributors may be used to endorse or promote":                                          {"BSD-3-Clause"},
		"Apache License\nVersion 2.0, January 2004\nTERMS AND CONDITIONS FOR USE":                                                               {"Apache-2.0"},
		"Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted, provided that": {"ISC"},
		"All rights reserved.": nil,
	} {
		if got := identify(text); !slices.Equal(got, want) {
			t.Errorf("identify(%.40q) = %v, want %v", text, got, want)
		}
	}
}

func TestAssets(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := assets(dir); err != nil || list != nil {
		t.Errorf("without assets.json: %v, %v", list, err)
	}
	sum := sha256.Sum256([]byte("code"))
	good := `{"name":"lib","version":"1.2","licence":"MIT","source":"npm: lib","files":["lib/lib.js"],"sha256":["` + hex.EncodeToString(sum[:]) + `"]}`
	write("assets.json", "["+good+"]")
	write("lib/lib.js", "code")
	if _, err := assets(dir); !errors.Is(err, errUnknown) {
		t.Errorf("without its licence: %v", err)
	}
	write("lib/LICENSE", "\nthe terms\n")
	list, err := assets(dir)
	want := []licence.Licence{{Name: "lib", Version: "1.2", SPDX: "MIT", Kind: licence.Asset, Text: "the terms\n"}}
	if diff := cmp.Diff(want, list); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	write("lib/lib.js", "other code")
	if _, err := assets(dir); err == nil || !strings.Contains(err.Error(), "lib/lib.js is not the file") {
		t.Errorf("another file: %v", err)
	}
	for _, text := range []string{"{", `[{"name":"lib"}]`, `[{"nam":"lib"}]`, strings.Replace("["+good+"]", "lib/lib.js", "lib/none.js", 1)} {
		write("assets.json", text)
		if _, err := assets(dir); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
