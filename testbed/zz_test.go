package testbed

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestZZ(t *testing.T) {
	ctx := t.Context()
	k, err := StartKafka(ctx, KafkaOptions{HeapMB: 256, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Stop()
	adm := kadm.NewClient(kafkaClient(t, k))
	adm.CreateTopic(ctx, 1, 1, nil, "t")
	w := kafkaClient(t, k, kgo.TransactionalID("writer"))
	w.BeginTransaction()
	w.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("kept")})
	t.Log(w.EndTransaction(ctx, kgo.TryCommit))
	k.Kill()
	b := time.Now()
	t.Log(k.Start(ctx))
	t.Log("start", time.Since(b))
	for range 6 {
		time.Sleep(3 * time.Second)
		a, e := adm.ListEndOffsets(ctx, "t")
		o, _ := a.Lookup("t", 0)
		c, e2 := adm.ListCommittedOffsets(ctx, "t")
		oc, _ := c.Lookup("t", 0)
		t.Log(o.Offset, e, oc.Offset, e2)
		ts, e3 := adm.DescribeTransactions(ctx, "writer")
		t.Logf("%+v %v", ts, e3)
		if oc.Offset == 2 {
			return
		}
	}
	r := kafkaClient(t, k, kgo.ConsumeTopics("t"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelDebug, nil)))
	c2, _ := context.WithTimeout(ctx, 5*time.Second)
	r.PollFetches(c2)
	os.WriteFile("/tmp/tb/keep.log", func() []byte { b, _ := os.ReadFile(k.logPath); return b }(), 0644)
	t.Fail()
}
