package run

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/config"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/memory"
)

// TestFetchSize: whatever records compress to, a partition's part of an answer takes about the same memory, and no less than needed is asked for.
func TestFetchSize(t *testing.T) {
	f := newFetchSize()
	asked, answer := f.asked, int32(0)
	f.update = func(maxBytes, maxPartitionBytes int32) { answer, asked = maxBytes, maxPartitionBytes }
	read := func(ratio, times int) {
		for range times {
			f.OnFetchBatchRead(kgo.BrokerMetadata{}, "", 0, kgo.FetchBatchMetrics{CompressedBytes: 1000, UncompressedBytes: 1000 * ratio})
		}
	}
	const most = fetchPartitionBytes * fetchRatio
	if asked*ratioFirst > most {
		t.Errorf("first %d bytes are asked for: %d times as many are more than %d", asked, ratioFirst, most)
	}
	for _, ratio := range []int{1, 3, 4, 30, 5, 100, 1000, 2} {
		read(ratio, 1)
		if int(asked)*ratio > most && asked != fetchPartitionMin {
			t.Errorf("%d bytes are asked for at once where %d times as many come", asked, ratio)
		}
		read(ratio, 200)
		want := max(fetchPartitionMin, min(fetchPartitionBytes, most/int32(ratio)))
		if asked < want*3/4 || asked > want || answer != 16*asked {
			t.Errorf("%d to 1: %d bytes are asked for, %d in all; want about %d, 16 times as many in all", ratio, asked, answer, want)
		}
	}
	f.OnFetchBatchRead(kgo.BrokerMetadata{}, "", 0, kgo.FetchBatchMetrics{}) // a batch that could not be read
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, topic string
		want           bool
	}{
		{"src.shop.*", "src.shop.orders", true},
		{"src.shop.*", "src.shops.orders", false},
		{"src.*", "src.shop.orders", true},
		{"*", "src.shop.orders", true},
		{"*", "src.checkpoint", false},
		{"*", "g.dead", false},
		{"*", "a.b.c.d", false},
		{"src.shop.order?", "src.shop.orders", true},
		{"src.shop.order?", "src.shop.order", false},
		{"src.shop.a.b", "src.shop.axb", false},
		{"/src\\.shop\\.(a|b)/", "src.shop.b", true},
		{"/src\\.shop\\.(a|b)/", "src.shop.bb", false},
	} {
		p, err := parsePatterns([]string{c.pattern})
		if err != nil {
			t.Fatal(err)
		}
		if got := matches(p, c.topic); got != c.want {
			t.Errorf("%s matches %s: %v, want %v", c.pattern, c.topic, got, c.want)
		}
	}
	for _, bad := range []string{"", "/(/"} {
		if _, err := parsePattern(bad); err == nil {
			t.Errorf("the pattern %q was taken", bad)
		}
	}
}

func TestPinRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := pin{incarnation: incarnation{count: rapid.Int32Min(0).Draw(r, "count")}, throughMillis: rapid.Int64().Draw(r, "through")}
		if rapid.Bool().Draw(r, "rewound") {
			want.rewound = rewound{rapid.Int64Min(1).Draw(r, "reached"), rapid.Bool().Draw(r, "resend")}
		}
		copy(want.id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(r, "id"))
		if got, ok := parsePin(want.String()); !ok || got != want {
			r.Fatalf("%q gave %v (%v), want %v", want.String(), got, ok, want)
		}
	})
	for _, text := range []string{"", "sluice", "sluice id=00 count=1 through=2", "other id=00000000000000000000000000000000 count=1 through=2",
		"sluice id=00000000000000000000000000000000 count=x through=2", "sluice id=00000000000000000000000000000000 count=1 through=2 else=3"} {
		if p, ok := parsePin(text); ok {
			t.Errorf("%q was taken as %v", text, p)
		}
	}
}

func rec(offset int64, size int, control bool) *kgo.Record {
	return &kgo.Record{Offset: offset, Value: make([]byte, size), Attrs: kgo.NewRecordAttrs(kgo.RecordAttrsOpts{Control: control})}
}

func TestPendingCountsMarkers(t *testing.T) {
	p := &pending{from: 5, next: 5}
	p.add(rec(4, 1, false)) // taken before
	p.add(rec(6, 1, false))
	p.add(rec(9, 1, true))
	if p.next != 10 || p.rows != 1 || len(p.records) != 2 {
		t.Errorf("next is %d with %d rows of %d records, want 10, 1, 2", p.next, p.rows, len(p.records))
	}
}

func TestQueueKeepsOrderAndBounds(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		limit := rapid.IntRange(1000, 5000).Draw(r, "limit")
		resumed := 0
		q := newQueue(func() int { return limit }, func() { resumed++ })
		var put, took int64
		paused := false
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			if !paused && rapid.Bool().Draw(r, "put") {
				var records []*kgo.Record
				for range rapid.IntRange(1, 5).Draw(r, "records") {
					records = append(records, rec(put, rapid.IntRange(0, 500).Draw(r, "size"), false))
					put++
				}
				paused = q.put(records)
				if paused != (q.size() > limit) {
					r.Fatalf("paused is %v with %d of %d bytes", paused, q.size(), limit)
				}
				continue
			}
			p := &pending{from: took, next: took}
			maxRows := rapid.IntRange(1, 7).Draw(r, "rows")
			if err := q.take(p, 2000, maxRows); err != nil {
				r.Fatal(err)
			}
			if p.rows > maxRows || p.rows > 1 && p.bytes-recordBytes(p.records[p.rows-1]) >= 2000 {
				r.Fatalf("took %d rows of %d bytes", p.rows, p.bytes)
			}
			for _, record := range p.records {
				if record.Offset != took {
					r.Fatalf("took offset %d, want %d", record.Offset, took)
				}
				took++
			}
			if p.next != took {
				r.Fatalf("next is %d, want %d", p.next, took)
			}
			if paused && q.size() <= limit/2 {
				if resumed == 0 {
					r.Fatal("not resumed though there is room")
				}
				paused, resumed = false, 0
			}
		}
		if q.size() < 0 || took == put && q.size() != 0 {
			r.Fatalf("%d bytes are left of %d records", q.size(), put-took)
		}
	})
}

func TestQueueGivesItsErrorLast(t *testing.T) {
	q := newQueue(func() int { return 1 << 20 }, func() {})
	q.put([]*kgo.Record{rec(0, 1, false)})
	q.fail(errors.New("gone"))
	p := &pending{}
	if err := q.take(p, 1000, 10); err != nil || p.rows != 1 {
		t.Errorf("took %d rows (%v), want the record first", p.rows, err)
	}
	if err := q.take(p, 1000, 10); err == nil {
		t.Error("the error did not come")
	}
}

func TestTrusted(t *testing.T) {
	const since = 100
	for name, c := range map[string]struct {
		change sink.Change
		want   bool
	}{
		"update":           {sink.Change{Op: change.Update, AppendMillis: 100}, true},
		"old update":       {sink.Change{Op: change.Update, AppendMillis: 99}, false},
		"create":           {sink.Change{Op: change.Create, AppendMillis: 100}, true},
		"crawl over":       {sink.Change{Op: change.Read, AppendMillis: 100, Origin: sink.Origin{Snapshot: "incremental"}}, false},
		"crawl, gone":      {sink.Change{Op: change.Delete, AppendMillis: 100, Origin: sink.Origin{Snapshot: "incremental"}}, false},
		"first crawl":      {sink.Change{Op: change.Read, AppendMillis: 100, Origin: sink.Origin{Snapshot: "true"}}, true},
		"tombstone":        {sink.Change{Op: change.Delete, AppendMillis: 100, Tombstone: true}, false},
		"delete":           {sink.Change{Op: change.Delete, AppendMillis: 100}, true},
		"old, first crawl": {sink.Change{Op: change.Read, AppendMillis: 1, Origin: sink.Origin{Snapshot: "true"}}, false},
	} {
		if got := trusted(&c.change, since); got != c.want {
			t.Errorf("%s: trusted is %v, want %v", name, got, c.want)
		}
	}
	topic := &topic{}
	if now := time.Now().UnixMilli(); topic.trust() <= now {
		t.Error("without the topic's settings something is trusted")
	}
	topic.setSettings(&sink.LogSettings{Compacted: true, MinCompactionLag: time.Hour})
	if at := time.UnixMilli(topic.trust()); time.Since(at) > time.Hour-30*time.Second || time.Since(at) < 58*time.Minute {
		t.Errorf("records are trusted since %s ago, want a little less than an hour", time.Since(at))
	}
	topic.setSettings(&sink.LogSettings{})
	if topic.trust() != 0 {
		t.Error("in a topic that is not compacted something is not trusted")
	}
}

// listed makes the bounds of one partition.
func listed(offset int64) kadm.ListedOffsets {
	return kadm.ListedOffsets{"src.shop.a": {0: {Topic: "src.shop.a", Offset: offset}}}
}

// TestCheckBounds tells where a sink begins, or why not.
func TestCheckBounds(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) int64 { return now.Add(-d).UnixMilli() }
	const day = 24 * time.Hour
	settings := sink.LogSettings{Compacted: true, MinCompactionLag: 7 * day, DeleteRetention: 7 * day}
	for name, c := range map[string]struct {
		known              known
		start, end, stable int64
		next, through      int64
		first              int64
		refused            string
	}{
		"new, with a log":            {known{}, 5, 100, 90, 5, -now.UnixMilli(), 100, ""},
		"new, empty log":             {known{}, 5, 5, 5, 5, 0, 0, ""},
		"goes on":                    {known{found: true, next: 50, through: ago(day)}, 5, 100, 90, 50, ago(day), 0, ""},
		"first read goes on":         {known{found: true, next: 50, through: -ago(day)}, 5, 100, 90, 50, -ago(day), 100, ""},
		"first read took too long":   {known{found: true, next: 50, through: -ago(8 * day)}, 5, 100, 90, 0, 0, 0, "first read"},
		"a shard was added":          {known{found: false, next: -1, through: ago(day)}, 5, 100, 90, 5, -now.UnixMilli(), 100, ""},
		"below the log's start":      {known{found: true, next: 4, through: ago(day)}, 5, 100, 90, 0, 0, 0, "the log begins at 5"},
		"above the log's end":        {known{found: true, next: 101, through: ago(day)}, 5, 100, 90, 0, 0, 0, "the log ends at 100"},
		"within an open transaction": {known{found: true, next: 95, through: ago(day)}, 5, 100, 90, 95, ago(day), 0, ""},
		"too old":                    {known{found: true, next: 50, through: ago(15 * day)}, 5, 100, 90, 0, 0, 0, "more than the 336h"},
		"old, T not known":           {known{found: true, next: 50, through: 0}, 5, 100, 90, 50, 0, 0, ""},
	} {
		s := &Sink{config: Config{Group: "g"}, target: memory.NewStore(memory.Config{}).Open()}
		tp := &topic{name: "src.shop.a"}
		tp.setSettings(&settings)
		v := &survey{taken: now, starts: listed(c.start), ends: listed(c.end), stables: listed(c.stable)}
		var b beginning
		err := s.checkBounds(v, tp, spot{"src.shop.a", 0}, c.known, &b)
		if c.refused != "" {
			if change.SeverityOf(err) != change.Poison || !strings.Contains(err.Error(), c.refused) || !strings.Contains(change.Explain(err), "sluice replay") {
				t.Errorf("%s: gave %v, want it refused with %q", name, err, c.refused)
			}
			continue
		}
		if err != nil || b.next != c.next || b.through != c.through || b.firstEnd != c.first {
			t.Errorf("%s: begins at %d, T %d, first read to %d (%v), want %d, %d, %d", name, b.next, b.through, b.firstEnd, err, c.next, c.through, c.first)
		}
	}
}

// floored is a target that needs every change.
type floored struct{ sink.Target }

func (floored) Floor(s sink.LogSettings) time.Duration { return s.MinCompactionLag }

func TestFloor(t *testing.T) {
	settings := sink.LogSettings{Compacted: true, MinCompactionLag: time.Hour, DeleteRetention: time.Hour}
	state, history := &Sink{}, &Sink{target: floored{}}
	for name, c := range map[string]struct {
		got, want time.Duration
	}{
		"state":         {state.floorLimit(settings), 2 * time.Hour},
		"history":       {history.floorLimit(settings), time.Hour},
		"not compacted": {state.floorLimit(sink.LogSettings{DeleteRetention: time.Hour}), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: the bound is %s, want %s", name, c.got, c.want)
		}
	}
}

func TestLowest(t *testing.T) {
	p := sink.Partition{Topic: "a", Count: 2}
	other := sink.Partition{Topic: "a", Count: 2, Partition: 1}
	got := lowest([]sink.Position{{Partition: p, Shard: "s0", Next: 7, ThroughMillis: 5}, {Partition: p, Shard: "s1", Next: 3, ThroughMillis: 9},
		{Partition: other, Next: 1, ThroughMillis: 1}}, p)
	if want := (known{found: true, next: 3, through: 5}); got != want {
		t.Errorf("lowest is %+v, want %+v", got, want)
	}
}

// TestUnpaidDebts: a debt is unpaid once every partition was applied up to where it ended when the debt was seen.
func TestUnpaidDebts(t *testing.T) {
	now := incarnation{id: [16]byte{1}, count: 3}
	at := func(partition int32, next int64) sink.Position {
		return sink.Position{Partition: sink.Partition{Topic: "a", TopicID: now.id, Count: 3, Partition: partition}, Next: next}
	}
	other := at(1, 20)
	other.TopicID = [16]byte{2}
	debt := sink.Debt{Topic: "a", Key: "7", Version: 12}
	seen := sightings{debt: {now, map[int32]int64{0: 10, 1: 20, 2: 0}}}
	for name, c := range map[string]struct {
		positions []sink.Position
		want      bool
	}{
		"all have passed":        {[]sink.Position{at(0, 10), at(1, 21), at(2, -1)}, true},
		"one has not":            {[]sink.Position{at(0, 99), at(1, 19), at(2, -1)}, false},
		"one is not known":       {[]sink.Position{at(0, 10), at(2, 0)}, false},
		"one is another topic's": {[]sink.Position{at(0, 10), other, at(2, 0)}, false},
		"nothing was applied":    {[]sink.Position{at(0, -1), at(1, 20), at(2, -1)}, false},
		"one shard is behind":    {[]sink.Position{at(0, 10), at(1, 20), at(1, 19), at(2, 0)}, false},
	} {
		got := unpaidDebts([]sink.Debt{debt}, seen, c.positions)["a"]
		if (got != nil) != c.want || got != nil && !strings.Contains(change.Explain(got), "key 7") {
			t.Errorf("%s: gave %v, want %v", name, got, c.want)
		}
	}
	if got := unpaidDebts([]sink.Debt{{Topic: "a", Key: "8"}}, seen, []sink.Position{at(0, 10), at(1, 20), at(2, 0)}); len(got) > 0 {
		t.Errorf("a debt that was just seen gave %v", got)
	}
}

func TestSightings(t *testing.T) {
	first := incarnation{id: [16]byte{1}, count: 2}
	seen, asked := make(sightings), 0
	debt := func(v change.Version) sink.Debt { return sink.Debt{Topic: "a", Key: "7", Version: v} }
	look := func(end int64, now incarnation, debts ...sink.Debt) {
		t.Helper()
		err := seen.update(t.Context(), debts, map[string]incarnation{"a": now}, func(_ context.Context, names []string) (kadm.ListedOffsets, error) {
			if asked++; !slices.Equal(names, []string{"a"}) {
				t.Errorf("asked for %v", names)
			}
			return kadm.ListedOffsets{"a": {0: {Offset: end}, 1: {Offset: end + 1}}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	holds := func(d sink.Debt, end int64, times int) {
		t.Helper()
		if at := seen[d]; at.ends[0] != end || at.ends[1] != end+1 || asked != times {
			t.Errorf("the ends of %v are %v after asking %d times, want %d and one more, asked %d times", d, at.ends, asked, end, times)
		}
	}
	look(5, first, debt(1))
	look(6, first, debt(1))
	holds(debt(1), 5, 1)
	look(7, first, debt(1), debt(2)) // it has grown, or another one has come
	holds(debt(1), 5, 2)
	holds(debt(2), 7, 2)
	look(8, incarnation{id: [16]byte{2}, count: 2}, debt(1)) // the topic was made anew, the other debt was paid
	holds(debt(1), 8, 3)
	if len(seen) != 1 {
		t.Errorf("a debt that was paid is kept: %v", seen)
	}
	look(9, incarnation{id: [16]byte{2}, count: 3}, debt(1)) // three partitions, of which two were told
	if len(seen) != 0 {
		t.Errorf("without all ends there is %v", seen)
	}
}

func TestConfigCheck(t *testing.T) {
	page := `
topics: ["src.*", "/(/"]
kafka: {brokers: ["b:9092"]}
batch: {max_rows: 0, max_bytes: 1B}
on_error:
  - {topics: "src.*"}
  - {topics: "src.*", do: drop}
drain_timeout: 2m
`
	c := Default()
	err := config.Parse("sink.yaml", []byte(page), nil, &c)
	if err == nil || !strings.Contains(err.Error(), `sink.yaml:7: on_error[1].do: "drop": want stop or dead_letter`) {
		t.Errorf("the page gave %v", err)
	}
	c = Default()
	err = config.Parse("sink.yaml", []byte(strings.Replace(page, ", do: drop", ", do: stop", 1)), nil, &c)
	for _, want := range []string{"sink.yaml: group: missing", `sink.yaml:2: topics[1]: /(/`, "kafka.registry: missing", "sink.yaml:4: batch.max_rows: want",
		"sink.yaml:4: batch.max_bytes: want", "sink.yaml:6: on_error[0].do: missing", "sink.yaml:8: drain_timeout: want"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the page gave\n%v\nwant %q among it", err, want)
		}
	}
}

func TestTopicStops(t *testing.T) {
	topic := &topic{name: "a"}
	one, two := &worker{}, &worker{}
	if !topic.halt(one, errors.New("x")) || topic.halt(two, errors.New("y")) || !topic.halt(one, errors.New("z")) {
		t.Error("not only the first worker stops the topic")
	}
	s := topic.halted()
	if s == nil || s.by != one || s.err.Error() != "z" {
		t.Errorf("the topic is stopped by %+v", s)
	}
	if topic.release(two) || topic.halted() == nil {
		t.Error("another worker released the topic")
	}
	if !topic.release(one) || topic.halted() != nil {
		t.Error("the topic does not go on")
	}
	select {
	case <-s.over:
	default:
		t.Error("those who wait are not told")
	}
}

func TestBackoff(t *testing.T) {
	for tries := 1; tries < 100; tries++ {
		if d := backoff(tries); d < retryFirst/2 || d > retryMax {
			t.Fatalf("try %d waits %s", tries, d)
		}
	}
	if backoff(12) < retryMax/2 {
		t.Error("the twelfth try does not wait long")
	}
}

// What lies before a record that stops its topic is applied on its own.
func TestPendingBefore(t *testing.T) {
	p := &pending{from: 3, next: 3}
	for _, offset := range []int64{3, 5, 8, 9} {
		p.add(&kgo.Record{Offset: offset, Value: make([]byte, offset)})
	}
	bytes := p.bytes
	if head := p.before(3); head != nil {
		t.Errorf("before the first record there are %+v", head)
	}
	head := p.before(8)
	if head == nil || head.from != 3 || head.next != 6 || head.rows != 2 || len(head.records) != 2 {
		t.Fatalf("the head is %+v", head)
	}
	if p.from != 6 || p.next != 10 || p.rows != 2 || len(p.records) != 2 || p.bytes+head.bytes != bytes {
		t.Errorf("the rest is %+v", p)
	}
}
