package run

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestSortLetters: what a list of dead letters says follows from the topic's records alone.
func TestSortLetters(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	var records []*kgo.Record
	add := func(key string, headers ...string) {
		r := &kgo.Record{Key: []byte(key), Offset: int64(len(records)), Timestamp: at.Add(time.Duration(len(records)) * time.Second)}
		for i := 0; i < len(headers); i += 2 {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: headers[i], Value: []byte(headers[i+1])})
		}
		records = append(records, r)
	}
	letter := func(key, topic string, offset int) {
		add(key, headerTopic, topic, headerPartition, "1", headerOffset, strconv.Itoa(offset), headerReason, "no", headerCauses, `["no","never"]`)
	}
	closed := func(offset int, how string) {
		add("", headerClosed, how, headerLetter, strconv.Itoa(offset))
	}
	letter("a", "t", 10) // 0
	letter("b", "t", 11) // 1
	letter("a", "u", 10) // 2: another topic's row
	closed(0, retried)   // 3
	letter("a", "t", 20) // 4: refused again
	letter("a", "t", 20) // 5: the same record once more, for the sink died before it passed it
	closed(1, dropped)   // 6
	closed(99, dropped)  // 7: no letter
	closed(3, dropped)   // 8: nor is this one
	want := []string{"0 t 10 tries 1 first 0 retried", "1 t 11 tries 1 first 1 dropped", "2 u 10 tries 1 first 2 ", "4 t 20 tries 2 first 0 ", "5 t 20 tries 2 first 0 "}
	got := sortLetters(records)
	if len(got) != len(want) {
		t.Fatalf("%d letters, want %d", len(got), len(want))
	}
	for i, l := range got {
		said := fmt.Sprintf("%d %s %d tries %d first %d %s", l.Letter, l.Topic, l.Offset, l.Tries, l.FirstSeen.Sub(at)/time.Second, l.Closed)
		if said != want[i] || l.Partition != 1 || len(l.Causes) != 2 {
			t.Errorf("letter %d: %q, want %q (partition %d, causes %v)", i, said, want[i], l.Partition, l.Causes)
		}
	}
}
