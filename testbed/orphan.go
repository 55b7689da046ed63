package testbed

import (
	"os"
	"path/filepath"
	"syscall"
)

// ownerFile is in every instance's folder, locked as long as the process that
// made the folder lives.
const ownerFile = "owner.lock"

// claim marks a folder that was just made as this process's. The file gets its
// name when it is locked: before, another process could take it for an orphan's.
func claim(dir string) (*os.File, error) {
	path := filepath.Join(dir, ownerFile)
	file, err := lockNow(path+".new", os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(path+".new", path); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// lockNow opens and locks a file that nobody else has locked.
func lockNow(path string, flags int) (*os.File, error) {
	file, err := os.OpenFile(path, flags|os.O_RDWR, 0o644)
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
		if owner, err := lockNow(filepath.Join(dir, ownerFile), 0); err == nil {
			if release != nil {
				release(dir)
			}
			os.RemoveAll(dir)
			owner.Close()
		}
	}
}
