package testbed

import (
	"os"
	"path/filepath"
	"syscall"
)

// ownerFile is in every instance's folder, locked as long as the process that
// made the folder lives.
const ownerFile = "owner.lock"

// claim marks a folder as this process's.
func claim(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, ownerFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// removeOrphans removes the folders of servers whose starter was killed before
// it could stop them, a test that ran into its time-out for one: at a hundred
// megabytes each they fill the temp folder of a machine that tests all day. The
// servers in them died with their starter. What can not be removed is left.
// First, release (or nil) lets go of what a folder holds.
func removeOrphans(parent, pattern string, release func(dir string)) {
	dirs, err := filepath.Glob(filepath.Join(parent, pattern))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		// One that is being made has no owner file yet.
		if !exists(filepath.Join(dir, ownerFile)) {
			continue
		}
		if owner, err := claim(dir); err == nil {
			if release != nil {
				release(dir)
			}
			os.RemoveAll(dir)
			owner.Close()
		}
	}
}
