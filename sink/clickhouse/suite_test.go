package clickhouse_test

import (
	"os"
	"testing"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/clickhouse"
	"github.com/sluice-cdc/sluice/sink/sinktest"
)

// suite runs beside the other suites: what it does is mostly waiting for the engine.
func suite(t *testing.T, engine string, histories int, with func(*clickhouse.Config)) {
	t.Parallel()
	sinktest.Run(t, sinktest.Options{Histories: histories, EqualWrites: true, New: func(t testing.TB, _ sinktest.Spec) func() sink.Target {
		p := newPlace(t, engine)
		if with != nil {
			with(&p.config)
		}
		return func() sink.Target { return p.open() }
	}})
}

func history(c *clickhouse.Config) { c.Mode = clickhouse.History }

func TestSuite(t *testing.T)          { suite(t, old, 3, nil) }
func TestSuiteOnModern(t *testing.T)  { suite(t, modern, 2, nil) }
func TestSuiteOfHistory(t *testing.T) { suite(t, old, 2, history) }

// TestSuiteOfHistoryOnModern: what histories are made of hardly differs there, and the tests of histories run on both.
func TestSuiteOfHistoryOnModern(t *testing.T) {
	if os.Getenv("SLUICE_LONG") == "" {
		t.Skip("the suite in this mode runs with SLUICE_LONG=1")
	}
	suite(t, modern, 2, history)
}
