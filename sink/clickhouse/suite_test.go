package clickhouse_test

import (
	"testing"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/clickhouse"
	"github.com/sluice-cdc/sluice/sink/sinktest"
)

func suite(t *testing.T, engine string, histories int, with func(*clickhouse.Config)) {
	sinktest.Run(t, sinktest.Options{Histories: histories, LastOfEquals: true, New: func(t testing.TB, _ sinktest.Spec) func() sink.Target {
		p := newPlace(t, engine)
		if with != nil {
			with(&p.config)
		}
		return func() sink.Target { return p.open() }
	}})
}

func history(c *clickhouse.Config) { c.Mode = clickhouse.History }

func TestSuite(t *testing.T)                { suite(t, old, 4, nil) }
func TestSuiteOnModern(t *testing.T)        { suite(t, modern, 4, nil) }
func TestSuiteOfHistory(t *testing.T)       { suite(t, old, 3, history) }
func TestSuiteOfHistoryModern(t *testing.T) { suite(t, modern, 3, history) }
