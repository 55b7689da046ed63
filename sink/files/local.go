package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sluice-cdc/sluice/change"
)

// local keeps files in a folder. It is for one host: the lock of swap is the kernel's.
type local struct{ root string }

func (l *local) String() string { return l.root }

func (l *local) path(key string) string { return filepath.Join(l.root, filepath.FromSlash(key)) }

// judge makes a problem of an error of the file system.
func (l *local) judge(what string, err error) error {
	if err == nil {
		return nil
	}
	p := &change.Problem{Kind: change.Retry, What: what, Where: l.root, Err: err, Why: "nothing is lost: the log keeps what is not written",
		Mend: "look at the disk: is it full, is it there?"}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR) {
		p.Kind, p.Mend = change.Configuration, "let files.path be a folder that the sink may write to"
	}
	return p
}

const scratchFolder = "_sluice/scratch"

func (l *local) scratch() (*os.File, error) {
	if err := os.MkdirAll(l.path(scratchFolder), 0o755); err != nil {
		return nil, l.judge("a folder cannot be made", err)
	}
	f, err := os.CreateTemp(l.path(scratchFolder), "*.part")
	return f, l.judge("a file cannot be made", err)
}

func (l *local) put(ctx context.Context, key string, f *os.File) error {
	return l.judge("a file cannot be written", l.rename(ctx, key, f))
}

// rename makes the file durable under its name: first what is in it, then the name.
func (l *local) rename(ctx context.Context, key string, f *os.File) error {
	defer discard(f) // after the rename there is nothing to remove
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return err
	}
	path := l.path(key)
	if err := l.folder(filepath.Dir(path)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// folder makes a folder whose name is durable, with those above it.
func (l *local) folder(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if dir != l.root && len(dir) > len(l.root) {
		if err := l.folder(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(dir))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (l *local) swap(ctx context.Context, key string, data []byte, tag string) (string, error) {
	unlock, err := l.lock(key)
	if err != nil {
		return "", l.judge("the state of a partition cannot be locked", err)
	}
	defer unlock()
	_, now, err := l.get(ctx, key)
	if err != nil && !errors.Is(err, errNotThere) {
		return "", err
	}
	if now != tag {
		return "", errChanged
	}
	f, err := l.scratch()
	if err != nil {
		return "", err
	}
	if _, err := f.Write(data); err != nil {
		discard(f)
		return "", l.judge("the state of a partition cannot be written", err)
	}
	return tagOf(data), l.put(ctx, key, f)
}

// lock takes the lock beside a key. The kernel drops it when the process ends, however it ends.
func (l *local) lock(key string) (unlock func(), err error) {
	path := l.path(key) + ".lock"
	if err := l.folder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func tagOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// judgeRead is judge for what may not be there.
func (l *local) judgeRead(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errNotThere
	}
	return l.judge("a file cannot be read", err)
}

func (l *local) get(_ context.Context, key string) ([]byte, string, error) {
	data, err := os.ReadFile(l.path(key))
	if err != nil {
		return nil, "", l.judgeRead(err)
	}
	return data, tagOf(data), nil
}

// localFile is an open file with its size.
type localFile struct {
	*os.File
	bytes int64
}

func (f localFile) size() int64 { return f.bytes }

func (l *local) open(_ context.Context, key string) (object, error) {
	f, err := os.Open(l.path(key))
	if err != nil {
		return nil, l.judgeRead(err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, l.judge("a file cannot be read", err)
	}
	return localFile{f, info.Size()}, nil
}

func (l *local) list(_ context.Context, folder string) ([]entry, error) {
	var found []entry
	err := filepath.WalkDir(l.path(folder), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		key, err := filepath.Rel(l.root, path)
		if err == nil && !strings.HasSuffix(key, ".lock") {
			found = append(found, entry{filepath.ToSlash(key), info.Size()})
		}
		return err
	})
	return found, l.judge("a folder cannot be listed", err)
}

func (l *local) remove(_ context.Context, keys ...string) error {
	for _, key := range keys {
		if err := os.Remove(l.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return l.judge("a file cannot be removed", err)
		}
		os.Remove(filepath.Dir(l.path(key))) // the folder, where it is empty now; else this does nothing
	}
	return nil
}
