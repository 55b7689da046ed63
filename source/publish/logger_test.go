package publish

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A client that says the same again and again is passed on once, and then with the number of times.
func TestRepeatedWarningsAreHeldBack(t *testing.T) {
	var out bytes.Buffer
	l := newLogger(slog.New(slog.NewTextHandler(&out, nil)))
	for range 50 {
		l.Log(kgo.LogLevelWarn, "unable to dial", "addr", "k1:9092")
		l.Log(kgo.LogLevelInfo, "beginning a transaction")
	}
	l.Log(kgo.LogLevelError, "something else")
	if got := strings.Count(out.String(), "\n"); got != 2 || !strings.Contains(out.String(), "addr=k1:9092") || !strings.Contains(out.String(), "something else") {
		t.Errorf("%d lines:\n%s", got, &out)
	}
	if repeated, say := l.due("unable to dial", time.Now().Add(quiet)); !say || repeated != 49 {
		t.Errorf("after the pause: %d repeated, said %v", repeated, say)
	}
}
