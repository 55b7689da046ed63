package publish

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// quiet is how long the client's warnings of one wording are held back after one was passed on: a broker that is away has it
// say the same several times a second.
const quiet = 10 * time.Second

// logger passes the client's warnings on. Its info level says several lines for each transaction, so that is
// debug here.
type logger struct {
	log *slog.Logger

	mu   sync.Mutex           // guards the following
	held map[string]*heldBack // by the warning's words, which are constants of the client
}

// heldBack is what is known of one wording.
type heldBack struct {
	last  time.Time // when one was passed on
	since int       // how many were held back then
}

func newLogger(log *slog.Logger) *logger { return &logger{log: log, held: make(map[string]*heldBack)} }

// Level returns the least important level that is wanted.
func (l *logger) Level() kgo.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

// Log passes one line on.
func (l *logger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	to := slog.LevelDebug
	switch level {
	case kgo.LogLevelError, kgo.LogLevelWarn:
		to = slog.LevelWarn
		repeated, say := l.due(msg, time.Now())
		if !say {
			return
		}
		if repeated > 0 {
			keyvals = append(keyvals[:len(keyvals):len(keyvals)], "repeated", repeated)
		}
	}
	l.log.Log(context.Background(), to, "kafka client: "+msg, keyvals...)
}

// due reports whether a warning is to be passed on, and how many of its wording were held back since the last one.
func (l *logger) due(msg string, now time.Time) (repeated int, say bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[msg]
	if h == nil {
		h = &heldBack{}
		l.held[msg] = h
	}
	if now.Sub(h.last) < quiet {
		h.since++
		return 0, false
	}
	repeated = h.since
	h.last, h.since = now, 0
	return repeated, true
}
