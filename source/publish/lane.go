package publish

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/kafka"
)

// lanes is how many transactional ids a source has. A broker writes a transaction's markers after it has answered to the commit, and until
// they stand an id's next transaction has to wait. So transactions take turns: the next begins at once, under the other id.
//
// Order does not suffer: a transaction's first record is sent when the commit of the one before was answered, which decides it for good. Nor
// does the fence: all ids are taken, one after the other in the same order by everybody, before the checkpoint is read, and a Publisher's
// first transaction is the first id's. Of two that take them from each other, at most one ever commits after the other has read the
// checkpoint (TestRivalsOverLanes tries all ways).
const lanes = 2

// laneID is the transactional id of a lane. No source's name has a dot, so it is nobody else's.
func laneID(prefix string, lane int) string {
	if lane == 0 {
		return prefix
	}
	return prefix + ".2"
}

// lane is one transactional id with a client of its own.
type lane struct {
	client   *kgo.Client
	id       int64 // producer id and epoch at the open transaction's beginning
	epoch    int16
	ended    time.Time // when the last commit was answered
	settling settling  // how long the next transaction's first request waits from there
	met      bool      // the client knows the checkpoint's topic: see meet
}

// take takes the id, which fences whoever has it. The client would take it with its first record; until then nobody is fenced, and what is
// read of the checkpoint may be overtaken by a predecessor's commit.
func (l *lane) take(ctx context.Context, id string) error {
	if _, _, err := l.client.ProducerID(ctx); err != nil {
		return kafka.Explain(err, "take the transactional id", id)
	}
	return nil
}

// settle lets the broker finish the lane's transaction before. It is over when the other lane's was, but for a broker that is very busy. Here
// rather than at the beginning, so that rows are taken in meanwhile: the client holds them back for its linger time, which is longer.
func (l *lane) settle(ctx context.Context) {
	d := l.settling.now - time.Since(l.ended)
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// meet waits until the client knows that the topics of this transaction have partitions. Of a topic that is new to it, the client
// first hands the records to the broker and then notes the partitions, in a goroutine of its own. A transaction that ends in
// between is to it one without records, where it knows of no other partition: it aborts it and calls that a success (franz-go
// 1.22: storePartitionsUpdate and EndTransaction). The checkpoint's topic is in every transaction, so that only the first is
// in danger. To purge a topic that nobody has is done in that same goroutine, and so waits for it and changes nothing.
func (l *lane) meet() {
	if !l.met {
		l.client.PurgeTopicsFromProducing("no topic has this name")
	}
}
