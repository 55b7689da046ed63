package verify

import (
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
)

// TestPending: what differs may be mended by a crawl or a sweep that is under way, so the look that counts waits for both; the one before it
// waits for a table's first crawl alone.
func TestPending(t *testing.T) {
	name := change.TableName{DB: "d", Name: "t"}
	topic := Topic{Name: "s.d.t", Source: "s", ID: [16]byte{1}, Count: 2}
	for _, c := range []struct {
		what       string
		crawled    bool
		crawl      *kafka.CrawlState
		sweep      bool
		quick, all string // what is waited for
	}{
		{"at rest", true, nil, false, "", ""},
		{"crawled over the top", true, &kafka.CrawlState{State: "running"}, false, "", "being crawled"},
		{"swept", true, nil, true, "", "being swept"},
		{"a crawl that is over", true, &kafka.CrawlState{State: "done"}, false, "", ""},
		{"a crawl of named keys", true, &kafka.CrawlState{State: "running", Keys: "[1]"}, false, "", ""},
		{"crawled for the first time", false, &kafka.CrawlState{State: "waiting"}, false, "being crawled", "being crawled"},
		{"never crawled", false, nil, false, "never crawled", "never crawled"},
	} {
		checkpoint := &kafka.Checkpoint{Tables: map[change.TableName]*kafka.TableState{name: {Table: name, Topic: topic.Name, TopicID: topic.ID, Partitions: topic.Count, Crawled: c.crawled}}}
		if c.crawl != nil {
			c.crawl.Table = name
			checkpoint.Crawls = map[string]*kafka.CrawlState{"1": c.crawl}
		}
		if c.sweep {
			checkpoint.Sweeps = map[change.TableName]*kafka.SweepState{name: {Table: name}}
		}
		for upTo, want := range map[stage]string{logApplied: c.quick, allCrawled: c.all} {
			got, err := pending(checkpoint, &topic, upTo)
			if err != nil || (want == "") != (got.What == "") || !strings.Contains(got.What, want) {
				t.Errorf("%s, all crawled %v: waits for %q (%v), want %q", c.what, upTo, got.What, err, want)
			}
		}
	}
}
