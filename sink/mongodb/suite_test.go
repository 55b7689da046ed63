package mongodb_test

import (
	"testing"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/mongodb"
	"github.com/sluice-cdc/sluice/sink/sinktest"
)

func suite(t *testing.T, histories int, with func(*mongodb.Config)) {
	sinktest.Run(t, sinktest.Options{Histories: histories, New: func(t testing.TB, _ sinktest.Spec) func() sink.Target {
		p := newPlace(t)
		if with != nil {
			with(&p.config)
		}
		return func() sink.Target { return p.open() }
	}})
}

func TestSuite(t *testing.T) { suite(t, 8, nil) }

func TestSuiteOfText(t *testing.T) {
	suite(t, 2, func(c *mongodb.Config) { c.Dates, c.JSON = mongodb.Text, mongodb.Text })
}
