package elasticsearch_test

import (
	"testing"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/elasticsearch"
	"github.com/sluice-cdc/sluice/sink/sinktest"
	"github.com/sluice-cdc/sluice/testbed"
)

func suite(t *testing.T, kind testbed.SearchKind, histories int, with func(*elasticsearch.Config)) {
	sinktest.Run(t, sinktest.Options{Histories: histories, New: func(t testing.TB, _ sinktest.Spec) func() sink.Target {
		p := newPlace(t, kind)
		if with != nil {
			with(&p.config)
		}
		return func() sink.Target { return p.open() }
	}})
}

func TestSuite(t *testing.T)             { suite(t, testbed.Elasticsearch, 4, nil) }
func TestSuiteOnOpenSearch(t *testing.T) { suite(t, testbed.OpenSearch, 3, nil) }

func TestSuiteOfEnvelopes(t *testing.T) {
	suite(t, testbed.Elasticsearch, 1, func(c *elasticsearch.Config) { c.Documents = elasticsearch.Envelope })
}

// TestSuiteWithoutTombstones stays within index.gc_deletes.
func TestSuiteWithoutTombstones(t *testing.T) {
	suite(t, testbed.OpenSearch, 1, func(c *elasticsearch.Config) { c.Deletes = elasticsearch.Delete })
}
