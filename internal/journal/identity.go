package journal

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

const (
	identityName = "journal.json"
	keyName      = "head.key"
	version      = 1
)

// identity is what a journal is given once, when its folder is made.
type identity struct {
	ID   event.ID // names the journal in its heads
	seed seed
	key  ed25519.PrivateKey // signs heads
}

type identityJSON struct {
	Version int      `json:"version"`
	ID      event.ID `json:"id"`
	Seed    string   `json:"dedupe_seed"`
}

// loadIdentity reads what makeIdentity wrote. The error is fs.ErrNotExist where
// there is no journal.
func loadIdentity(fsys vfs.FS, dir string) (identity, error) {
	text, err := readFile(fsys, filepath.Join(dir, identityName))
	if err != nil {
		return identity{}, fmt.Errorf("read the journal's identity: %w", err)
	}
	var j identityJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return identity{}, fmt.Errorf("%w: %s: %w", ErrDamaged, filepath.Join(dir, identityName), err)
	}
	if j.Version != version {
		return identity{}, event.Invalidf("%s: version %d of the journal is not supported by this program, which knows version %d", filepath.Join(dir, identityName), j.Version, version)
	}
	id := identity{ID: j.ID}
	if n, err := hex.Decode(id.seed[:], []byte(j.Seed)); err != nil || n != len(id.seed) {
		return identity{}, fmt.Errorf("%w: %s: the seed is not %d bytes in hex", ErrDamaged, filepath.Join(dir, identityName), len(id.seed))
	}
	id.key, err = loadKey(fsys, filepath.Join(dir, keyName))
	return id, err
}

func loadKey(fsys vfs.FS, path string) (ed25519.PrivateKey, error) {
	text, err := readFile(fsys, path)
	if err != nil {
		return nil, fmt.Errorf("read the key of the heads: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%w: %s is no PEM file", ErrDamaged, path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: %s is no Ed25519 key", ErrDamaged, path)
	}
	return private, nil
}

// makeIdentity writes a new identity, the key first, so that a crash between
// the two files leaves no journal.
func makeIdentity(fsys vfs.FS, dir string) (identity, error) {
	id := identity{ID: event.NewID()}
	_, _ = rand.Read(id.seed[:]) // never fails since Go 1.24
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return id, fmt.Errorf("make the key of the heads: %w", err)
	}
	id.key = key
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return id, fmt.Errorf("encode the key of the heads: %w", err)
	}
	text, err := json.Marshal(identityJSON{version, id.ID, hex.EncodeToString(id.seed[:])})
	if err != nil {
		return id, fmt.Errorf("encode the journal's identity: %w", err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := writeFile(fsys, dir, keyName, block); err != nil {
		return id, err
	}
	return id, writeFile(fsys, dir, identityName, append(text, '\n'))
}

// writeFile writes a whole file that a crash shows complete or not at all.
func writeFile(fsys vfs.FS, dir, name string, text []byte) error {
	temp := filepath.Join(dir, name+".tmp")
	f, err := fsys.Create(temp)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.WriteAt(text, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(temp, filepath.Join(dir, name))
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// ensureIdentity loads the identity, or makes it in a folder without events.
func ensureIdentity(fsys vfs.FS, dir string) (identity, error) {
	id, err := loadIdentity(fsys, dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	for _, sub := range []string{logDir, segmentDir} {
		names, err := fsys.List(filepath.Join(dir, sub))
		if err != nil {
			return id, err
		}
		if len(names) > 0 {
			return id, fmt.Errorf("%w: %s or %s is missing from %s, although there are events", ErrDamaged, identityName, keyName, dir)
		}
	}
	return makeIdentity(fsys, dir)
}
