package testbed

import (
	"os"
	"testing"
)

// TestS3StartsAgain: after a crash it listens on the same port and has its buckets.
func TestS3StartsAgain(t *testing.T) {
	needsTime(t)
	t.Parallel()
	if err := Available(t.Context(), "s3proxy"); err != nil {
		t.Skip(err)
	}
	s, err := StartS3(t.Context(), S3Options{Buckets: []string{"history"}, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, s)
	killAndStart(t, s)
	if _, err := os.Stat(s.Objects("history")); err != nil {
		t.Error(err)
	}
}
