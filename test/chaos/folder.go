package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// folderPattern names the folders of runs, in the system's temp folder.
const folderPattern = "sluice-torture-*"

// makeFolder makes a run's folder and removes those of runs that were killed. The lock on the file in it, which the kernel drops when
// the process ends, says that a run is alive.
func makeFolder() (dir string, remove func(), err error) {
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), folderPattern)) // the pattern is well formed
	for _, dir := range old {
		if owner, ok := lockFolder(dir, os.O_RDWR); ok {
			os.RemoveAll(dir) // what cannot be removed now is tried again by the next run
			owner.Close()
		}
	}
	if dir, err = os.MkdirTemp("", folderPattern); err != nil {
		return "", nil, err
	}
	owner, ok := lockFolder(dir, os.O_RDWR|os.O_CREATE)
	if !ok {
		os.RemoveAll(dir)
		return "", nil, fmt.Errorf("lock the folder %s", dir)
	}
	return dir, func() { os.RemoveAll(dir); owner.Close() }, nil
}

func lockFolder(dir string, flags int) (*os.File, bool) {
	f, err := os.OpenFile(filepath.Join(dir, "owner"), flags, 0o600)
	if err != nil {
		return nil, false
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		f.Close()
		return nil, false
	}
	return f, true
}
