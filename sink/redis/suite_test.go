package redis_test

import (
	"testing"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/redis"
	"github.com/sluice-cdc/sluice/sink/sinktest"
)

// suite runs the suite on a server.
func suite(t *testing.T, server string, histories int, with func(*redis.Config)) {
	sinktest.Run(t, sinktest.Options{Histories: histories, New: func(t testing.TB, spec sinktest.Spec) func() sink.Target {
		p := newPlace(t, server)
		if with != nil {
			with(&p.config)
		}
		return func() sink.Target { return p.open() }
	}})
}

func TestSuite(t *testing.T)         { suite(t, "redis", 30, nil) }
func TestSuiteOnValkey(t *testing.T) { suite(t, "valkey", 10, nil) }

func TestSuiteOfJSON(t *testing.T) {
	suite(t, "redis", 10, func(c *redis.Config) { c.Tables = []redis.Table{{Match: "*.*", As: redis.JSON}} })
}

// TestSuiteInCluster spreads rows over slots of three nodes.
func TestSuiteInCluster(t *testing.T) {
	suite(t, "cluster", 10, func(c *redis.Config) { c.Tables = []redis.Table{{Match: "*.plain"}, {Match: "*.*", Slots: 5}} })
}

// TestSuiteOfStreams applies every change, not only the newest of each key.
func TestSuiteOfStreams(t *testing.T) {
	suite(t, "redis", 10, func(c *redis.Config) {
		c.Tables = []redis.Table{{Match: "*.types"}, {Match: "*.*", Stream: &redis.Stream{MaxLength: 100},
			Indexes: []redis.Index{{Name: "a", Kind: redis.Sorted, Score: "a", By: "code"}, {Name: "b", Kind: redis.Set, By: "b"}}}}
	})
}
