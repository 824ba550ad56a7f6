package state

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Key is the installation's one secret, from which all others are derived. It
// lives in a file of its own, so that a copy of the database alone opens
// nothing.
type Key struct{ root []byte }

const keyBytes = 32

// OpenKey reads the key file in a folder, and makes one where there is none.
func OpenKey(dir string) (Key, error) {
	path := filepath.Join(dir, "tocsin.key")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newKey(path)
	}
	if err != nil {
		return Key{}, fmt.Errorf("key file: %w", err)
	}
	root, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(root) != keyBytes {
		return Key{}, fmt.Errorf("key file %s: it must hold %d hexadecimal digits; restore it from a backup", path, 2*keyBytes)
	}
	return Key{root}, nil
}

func newKey(path string) (Key, error) {
	root := make([]byte, keyBytes)
	_, _ = rand.Read(root) // never fails since Go 1.24
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Key{}, fmt.Errorf("key file: %w", err)
	}
	_, err = f.WriteString(hex.EncodeToString(root) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return Key{}, fmt.Errorf("key file %s: %w", path, err)
	}
	return Key{root}, nil
}

// Derive makes a 32-byte key for one purpose (HKDF-SHA-256, RFC 5869).
func (k Key) Derive(purpose string) []byte {
	derived, err := hkdf.Key(sha256.New, k.root, nil, purpose, keyBytes)
	if err != nil {
		panic("state: derive a key: " + err.Error()) // only for lengths that are not asked for
	}
	return derived
}
