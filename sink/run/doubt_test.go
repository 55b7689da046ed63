package run

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// TestDoubtedEvents: which before images a batch says are trusted, in a topic that keeps every record (R7).
func TestDoubtedEvents(t *testing.T) {
	w := newWorld(t)
	a := w.table("a", 1)
	var records []*kgo.Record
	records = append(records, a.put(1, "one")...)
	records = append(records, a.put(1, "two")...)
	records = append(records, a.put(1, "three")...)
	records[2].Headers = append(records[2].Headers, kgo.RecordHeader{Key: change.DoubtHeader})
	records = append(records, a.record(change.Read, 1, nil, text(1, "three")))
	records = append(records, a.remove(1)...)
	want := []bool{true, true, false, false, true, false}

	kept := &topic{name: a.topic}
	kept.setSettings(&sink.LogSettings{})
	d := decoder{schemas: newSchemas(w.registry), topic: kept}
	p := &pending{}
	for i, r := range records {
		r.Offset, r.Timestamp = int64(i), time.Now()
		p.add(r)
	}
	changes, err := d.batch(t.Context(), p)
	if err != nil || len(changes) != len(want) {
		t.Fatalf("%d changes, %v", len(changes), err)
	}
	for i, c := range changes {
		if c.TrustedBefore != want[i] {
			t.Errorf("record %d, %s of row 1: its before image is trusted: %v, want %v", i, c.Op, c.TrustedBefore, want[i])
		}
	}
}
