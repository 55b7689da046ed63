package hbase_test

import (
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

func TestSuite(t *testing.T) { suite(t, 4, nil) }
