package hbase_test

import (
	"os"
	"testing"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/hbase"
	"github.com/sluice-cdc/sluice/sink/sinktest"
)

func suite(t *testing.T, histories int, with func(*hbase.Config)) {
	sinktest.Run(t, sinktest.Options{Histories: histories, EqualWrites: true, New: func(t testing.TB, _ sinktest.Spec) func() sink.Target {
		p := newPlace(t)
		if with != nil {
			with(&p.config)
		}
		return func() sink.Target { return p.open() }
	}})
}

func TestSuite(t *testing.T) {
	t.Parallel()
	suite(t, 2, nil)
}

// TestSuiteOfKeys has row keys that are salted and turned round.
func TestSuiteOfKeys(t *testing.T) {
	if os.Getenv("SLUICE_FULL") == "" {
		t.Skip("the suite once more with other row keys runs with SLUICE_FULL=1")
	}
	suite(t, 20, func(c *hbase.Config) {
		c.Tables = []hbase.Table{{Match: "*.keyed", RowKey: "{n:reverse}{k:reverse}", Salt: 7}, {Match: "*.*", Salt: 16}}
	})
}
