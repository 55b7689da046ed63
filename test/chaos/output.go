package chaos

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// output is what a run says: each line with the time since its start, to the writer and into run.log.
type output struct {
	began time.Time

	mu   sync.Mutex // guards the following
	to   io.Writer
	file *os.File
}

func newOutput(to io.Writer, dir string) (*output, error) {
	file, err := os.Create(filepath.Join(dir, "run.log"))
	if err != nil {
		return nil, err
	}
	return &output{began: time.Now(), to: to, file: file}, nil
}

// note prints a line.
func (o *output) note(format string, args ...any) {
	now := time.Now()
	line := fmt.Sprintf("%s %7.1fs  %s\n", now.UTC().Format("15:04:05.000"), now.Sub(o.began).Seconds(), fmt.Sprintf(format, args...))
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = io.WriteString(o.to, line) // what cannot be shown is still in the file
	_, _ = io.WriteString(o.file, line)
}

func (o *output) close() error { return o.file.Close() }
