package webhook_test

import (
	"math/rand/v2"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/sinktest"
)

// without: in JSON a NULL and the document null are one, so that type is left to TestEnvelope.
var without = []change.Type{change.JSON}

// TestSuite: a receiver that applies what it is told of, newest wins, holds what every other target holds.
func TestSuite(t *testing.T) {
	sinktest.Run(t, sinktest.Options{Without: without, New: func(t testing.TB, _ sinktest.Spec) func() sink.Target {
		r := newReceiver(t)
		return func() sink.Target { return readable{open(t, r.hook("all")), r} }
	}})
}

// TestSuiteWithAReceiverThatFails: likewise where one request in ten fails before or after it was taken.
func TestSuiteWithAReceiverThatFails(t *testing.T) {
	sinktest.Run(t, sinktest.Options{Without: without, Histories: 10, New: func(t testing.TB, _ sinktest.Spec) func() sink.Target {
		r := newReceiver(t)
		r.set(0, func(told) (int, map[string]string) {
			if rand.IntN(10) == 0 {
				return []int{500, 503, 429, 408}[rand.IntN(4)], nil
			}
			return 200, nil
		})
		return func() sink.Target { return readable{open(t, r.hook("all")), r} }
	}})
}
