package run

import (
	"os"
	"runtime/debug"
)

// memoryBesideQueues is what a sink needs besides the records that wait, in bytes: an answer of a broker, the batches that are being decoded
// and written, the runtime.
const memoryBesideQueues = 112 << 20

// limitMemory has the garbage collector run more often rather than let the process grow beyond what it holds. It is a soft limit: a sink
// that holds more, as with rows of many megabytes, goes on, and spends more time on collecting. GOMEMLIMIT, where it is set, counts instead.
func limitMemory(queueBytes int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(queueBytes + memoryBesideQueues)
	}
}
