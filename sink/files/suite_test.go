package files_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/files"
	"github.com/sluice-cdc/sluice/sink/sinktest"
)

// openAt opens a target of a config, which must be right.
func openAt(t testing.TB, c files.Config) *files.Target {
	t.Helper()
	c.Check(func(path, problem string) { t.Errorf("%s: %s", path, problem) })
	target, err := files.New(c, sink.Setup{Group: "g", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(change.Explain(err))
	}
	return target
}

// suite runs the suite: each place is a folder of its own.
func suite(t *testing.T, histories int, with func(t testing.TB, c *files.Config)) {
	sinktest.Run(t, sinktest.Options{Histories: histories, New: func(t testing.TB, _ sinktest.Spec) func() sink.Target {
		c := files.Default()
		c.Path = t.TempDir()
		if with != nil {
			with(t, &c)
		}
		return func() sink.Target { return openAt(t, c) }
	}})
}

// TestSuite stages everything; TestSuiteOfVisibleFiles makes a visible file of each batch, which is what a long time makes of it.
func TestSuite(t *testing.T) { suite(t, 8, nil) }

func TestSuiteOfVisibleFiles(t *testing.T) {
	suite(t, 4, func(_ testing.TB, c *files.Config) { c.RollTime = 0; c.CopyKeys = 1000 })
}

// TestSuiteOfMerges merges every few batches.
func TestSuiteOfMerges(t *testing.T) {
	suite(t, 4, func(_ testing.TB, c *files.Config) { c.RollSize = 20 << 10; c.RollTime = time.Hour })
}
