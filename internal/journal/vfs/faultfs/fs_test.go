package faultfs_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/tocsin-events/tocsin/internal/journal/vfs"
	"github.com/tocsin-events/tocsin/internal/journal/vfs/faultfs"
)

func create(t *testing.T, s *faultfs.FS, path, text string) vfs.File {
	t.Helper()
	f, err := s.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		t.Fatal(err)
	}
	return f
}

// What was synced, file and name, survives every crash; what was not is seen
// both lost and kept over enough crashes.
func TestCrashKeepsWhatIsDurable(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(200) {
		s := faultfs.New()
		f := create(t, s, "/a", "durable")
		if err := errors.Join(f.Sync(), s.SyncDir("/")); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("DURABLE"), 0); err != nil {
			t.Fatal(err)
		}
		create(t, s, "/b", "x")
		s.Crash()
		if _, err := f.WriteAt([]byte("late"), 0); !errors.Is(err, faultfs.ErrCrashed) {
			t.Fatalf("write after the crash: %v, want ErrCrashed", err)
		}
		s.Recover(rand.New(rand.NewPCG(seed, 1)))
		if err := f.Sync(); !errors.Is(err, faultfs.ErrCrashed) {
			t.Fatalf("an old file after recovery: %v, want ErrCrashed", err)
		}
		got, err := s.ReadFile("/a")
		if err != nil || (string(got) != "durable" && string(got) != "DURABLE") {
			t.Fatalf("/a is %q, %v", got, err)
		}
		_, err = s.ReadFile("/b")
		seen[string(got)] = true
		seen["b lost"] = seen["b lost"] || errors.Is(err, fs.ErrNotExist)
		seen["b kept"] = seen["b kept"] || err == nil
	}
	for _, want := range []string{"durable", "DURABLE", "b lost", "b kept"} {
		if !seen[want] {
			t.Errorf("200 crashes never showed %q", want)
		}
	}
}

// After a failed sync, a later good one does not make the data durable.
func TestFailedSyncIsNotRepaired(t *testing.T) {
	lost := false
	for seed := range uint64(50) {
		s := faultfs.New()
		f := create(t, s, "/a", "")
		if err := s.SyncDir("/"); err != nil {
			t.Fatal(err)
		}
		s.Inject(func(op faultfs.Op) *faultfs.Fault {
			if op.Kind == faultfs.Sync {
				return &faultfs.Fault{Err: syscall.EIO}
			}
			return nil
		})
		if _, err := f.WriteAt([]byte("text"), 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("sync: %v, want EIO", err)
		}
		s.Inject(nil)
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		s.Crash()
		s.Recover(rand.New(rand.NewPCG(seed, 1)))
		got, err := s.ReadFile("/a")
		if err != nil {
			t.Fatal(err)
		}
		lost = lost || len(got) == 0
	}
	if !lost {
		t.Error("the data of a failed sync survived every crash")
	}
}

func TestCapacityAndShortWrite(t *testing.T) {
	s := faultfs.New()
	s.SetCapacity(10)
	f := create(t, s, "/a", "12345678")
	n, err := f.WriteAt([]byte("abcdef"), 8)
	if n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write past the end: %d, %v; want 2 and ENOSPC", n, err)
	}
	if free, err := s.Free("/"); free != 0 || err != nil {
		t.Errorf("free: %d, %v; want 0", free, err)
	}
	s.SetCapacity(100)
	s.Inject(func(op faultfs.Op) *faultfs.Fault {
		return &faultfs.Fault{Err: syscall.EIO, Written: 3}
	})
	if n, err := f.WriteAt([]byte("xyzuvw"), 0); n != 3 || !errors.Is(err, syscall.EIO) {
		t.Errorf("short write: %d, %v; want 3 and EIO", n, err)
	}
	got, err := s.ReadFile("/a")
	if err != nil || string(got) != "xyz45678ab" {
		t.Errorf("content %q, %v", got, err)
	}
}

// A rename without SyncDir is seen whole or not at all.
func TestRenameIsAtomic(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(50) {
		s := faultfs.New()
		f := create(t, s, "/tmp", "new")
		if err := errors.Join(f.Sync(), s.SyncDir("/"), s.Rename("/tmp", "/final")); err != nil {
			t.Fatal(err)
		}
		s.Crash()
		s.Recover(rand.New(rand.NewPCG(seed, 1)))
		files := s.Files()
		if len(files) != 1 {
			t.Fatalf("files %v, want one", files)
		}
		seen[files[0]] = true
	}
	if !seen["/tmp"] || !seen["/final"] {
		t.Errorf("seen %v, want both names", seen)
	}
}

func TestLock(t *testing.T) {
	for name, locker := range map[string]vfs.Locker{"fault": faultfs.New(), "os": vfs.OS{}} {
		path := t.TempDir() + "/lock"
		held, err := locker.Lock(path)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := locker.Lock(path); !errors.Is(err, vfs.ErrLocked) {
			t.Errorf("%s: second lock: %v, want ErrLocked", name, err)
		}
		if err := held.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := locker.Lock(path)
		if err != nil {
			t.Errorf("%s: lock after release: %v", name, err)
			continue
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestList(t *testing.T) {
	s := faultfs.New()
	if err := s.MkdirAll("/d/wal"); err != nil {
		t.Fatal(err)
	}
	create(t, s, "/d/b", "")
	create(t, s, "/d/a", "")
	names, err := s.List("/d")
	if err != nil || !slices.Equal(names, []string{"a", "b", "wal"}) {
		t.Errorf("list: %v, %v", names, err)
	}
}
