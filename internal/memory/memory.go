// Package memory keeps a process near the memory that its configuration says.
package memory

import (
	"os"
	"runtime/debug"
)

// Limit has the garbage collector run more often rather than let the process grow beyond what it holds. It is a soft limit: a process
// that holds more, as with rows of many megabytes, goes on, and spends more time on collecting. GOMEMLIMIT, where it is set, counts instead.
func Limit(bytes int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bytes)
	}
}
