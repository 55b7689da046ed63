package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

const (
	diskFolder = "disk"
	fillerFile = ".filler"
	// fillChunkBytes is written at a time until nothing fits.
	fillChunkBytes = 1 << 20
	// unmountTimeout bounds the end of a disk.
	unmountTimeout = 30 * time.Second
)

// Disk is a small file system of a test's own, in memory, that can be filled to
// the last byte without harm to anything else on the machine. It keeps its files
// over a kill of the server that wrote them.
type Disk struct {
	// Dir is where it is mounted; a server's data lies on it when this is the
	// Dir of its options.
	Dir string

	folder string // made by this package, removed by Close
	owner  *os.File
}

// NewDisk makes a disk of that size. It needs root and Linux with the command
// mount: the error wraps [errors.ErrUnsupported] where these are missing. Disks
// of killed processes are removed. The caller must Close it.
func NewDisk(ctx context.Context, bytes int64, log Log) (*Disk, error) {
	if err := diskPossible(); err != nil {
		unmet("disk", err)
		return nil, err
	}
	removeOrphans(os.TempDir(), "sluice-disk-*", func(dir string) {
		// One that was not mounted yet says so. Lazily: what died with the
		// disk's owner may not have let go of it yet.
		_, _ = output(ctx, "umount", "--lazy", filepath.Join(dir, diskFolder))
	})
	folder, err := os.MkdirTemp("", "sluice-disk-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for a disk: %w", err)
	}
	owner, err := claim(folder)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the folder of a disk: %w", err), os.RemoveAll(folder))
	}
	d := &Disk{Dir: filepath.Join(folder, diskFolder), folder: folder, owner: owner}
	if err := d.mount(ctx, bytes); err != nil {
		err = refused(fmt.Errorf("make a disk of %d bytes: %w", bytes, err))
		unmet("disk", err)
		owner.Close()
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	log.printf("disk of %d bytes on %s", bytes, d.Dir)
	met("disk", "tmpfs")
	return d, nil
}

func diskPossible() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("a disk of a test's own is Linux's tmpfs, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
	}
	if _, err := exec.LookPath("mount"); err != nil {
		return fmt.Errorf("a disk of a test's own needs the command mount (%w): apt-get install mount brings it: %w", err, errors.ErrUnsupported)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("a disk of a test's own needs root; run the test as root (sudo): %w", errors.ErrUnsupported)
	}
	return nil
}

func (d *Disk) mount(ctx context.Context, bytes int64) error {
	if err := os.Mkdir(d.Dir, 0o755); err != nil {
		return err
	}
	_, err := output(ctx, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d,mode=0755,nosuid,nodev", bytes), "sluice-disk", d.Dir)
	return err
}

// Fill takes all the space that is left. Called again, it takes what others
// have given back since.
func (d *Disk) Fill() error {
	file, err := os.OpenFile(filepath.Join(d.Dir, fillerFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("fill the disk %s: %w", d.Dir, err)
	}
	defer file.Close()
	chunk := make([]byte, fillChunkBytes)
	for {
		// A write that does not fit writes what fits.
		if _, err := file.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return fmt.Errorf("fill the disk %s: %w", d.Dir, err)
		}
	}
}

// Free gives back what Fill took.
func (d *Disk) Free() error {
	if err := os.Remove(filepath.Join(d.Dir, fillerFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("free the disk %s: %w", d.Dir, err)
	}
	return nil
}

// Close removes the disk and all that is on it; servers whose data that is must
// have been stopped. It may be called more than once.
func (d *Disk) Close() error {
	if !exists(d.folder) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), unmountTimeout)
	defer cancel()
	if _, err := output(ctx, "umount", d.Dir); err != nil {
		return fmt.Errorf("remove the disk %s; a server whose data is on it runs on: %w", d.Dir, err)
	}
	defer d.owner.Close()
	if err := os.RemoveAll(d.folder); err != nil {
		return fmt.Errorf("remove the disk's folder: %w", err)
	}
	return nil
}
