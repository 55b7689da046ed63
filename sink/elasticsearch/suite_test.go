package elasticsearch_test

import (
	"os"
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

// long skips what the other tests meet in part: the suite once more in a mode that few choose.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("SLUICE_LONG") == "" {
		t.Skip("the suite in this mode runs with SLUICE_LONG=1")
	}
}

func TestSuiteOfEnvelopes(t *testing.T) {
	long(t)
	suite(t, testbed.Elasticsearch, 4, func(c *elasticsearch.Config) { c.Documents = elasticsearch.Envelope })
}

// TestSuiteWithoutTombstones stays within index.gc_deletes.
func TestSuiteWithoutTombstones(t *testing.T) {
	long(t)
	suite(t, testbed.OpenSearch, 4, func(c *elasticsearch.Config) { c.Deletes = elasticsearch.Delete })
}
