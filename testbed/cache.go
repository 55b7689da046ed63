package testbed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Log receives progress lines: what is fetched, about how big, what started.
// A nil Log is silent.
type Log func(format string, args ...any)

func (l Log) printf(format string, args ...any) {
	if l != nil {
		l(format, args...)
	}
}

// lockPoll is how often a process asks again for a lock that another one
// holds: flock has no way to wait and to listen to a context at once.
const lockPoll = 100 * time.Millisecond

// CacheDir is where fetched servers lie: $SLUICE_CACHE, else
// $XDG_CACHE_HOME/sluice, else ~/.cache/sluice. It may not exist yet.
func CacheDir() (string, error) {
	if dir := os.Getenv("SLUICE_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "sluice"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w; set SLUICE_CACHE to a folder", err)
	}
	return filepath.Join(home, ".cache", "sluice"), nil
}

// cached returns the cache's folder of that name, building it first when it is
// not there. The build writes into a folder next to it that is renamed when the
// build has succeeded, so that a half-built folder is never taken for a whole
// one, and only one process of the machine builds at a time: the packages of a
// `go test ./...` run in parallel and would otherwise all fetch.
//
// The build must not write the folder's own path into anything, because the
// path changes with the rename.
func cached(ctx context.Context, name string, log Log, build func(ctx context.Context, dir string) error) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	final := filepath.Join(cache, name)
	if exists(final) {
		return final, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w; set SLUICE_CACHE to a folder that can be written", err)
	}
	unlock, err := lockFile(ctx, filepath.Join(cache, name+".lock"), log)
	if err != nil {
		return "", fmt.Errorf("wait for another process that fetches %s: %w", name, err)
	}
	defer unlock()
	if exists(final) {
		return final, nil
	}
	// The lock is ours, so what an interrupted build left behind is nobody's.
	leftovers, err := filepath.Glob(filepath.Join(cache, "."+name+".building-*"))
	if err != nil {
		return "", fmt.Errorf("look for interrupted builds of %s: %w", name, err)
	}
	for _, dir := range leftovers {
		if err := os.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("remove an interrupted build of %s: %w", name, err)
		}
	}
	building, err := os.MkdirTemp(cache, "."+name+".building-")
	if err != nil {
		return "", fmt.Errorf("make a folder for %s: %w", name, err)
	}
	defer os.RemoveAll(building)
	if err := build(ctx, building); err != nil {
		return "", err
	}
	if err := os.Chmod(building, 0o755); err != nil {
		return "", fmt.Errorf("open %s to readers: %w", name, err)
	}
	if err := os.Rename(building, final); err != nil {
		return "", fmt.Errorf("put %s in its place: %w", name, err)
	}
	return final, nil
}

// lockFile takes an exclusive lock that the kernel drops when this process
// ends, however it ends. The file stays: removing it would let two processes
// hold "the" lock on two files of one name.
func lockFile(ctx context.Context, path string, log Log) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for told := false; ; told = true {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !told {
			log.printf("waiting for another process that holds %s", path)
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// folderSize adds up the bytes of the files under a folder.
func folderSize(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.Type().IsRegular() {
			info, err := entry.Info()
			if err != nil {
				return err
			}
			total += info.Size()
		}
		return nil
	})
	return total, err
}
