package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

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

// lane is one transactional id.
type lane struct {
	producer
	ended    time.Time // when the last commit was answered
	settling settling  // how long the next transaction's first request waits from there
}

// take takes the id, which fences whoever has it. It waits while the broker ends what was left open under it.
func (l *lane) take(ctx context.Context, client *kgo.Client, timeout time.Duration) error {
	err := untilFree(ctx, func() error {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis = &l.transactionalID, int32(timeout.Milliseconds())
		req.ProducerID, req.ProducerEpoch = -1, -1
		resp, err := req.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		l.id, l.epoch = resp.ProducerID, resp.ProducerEpoch
		return kerr.ErrorForCode(resp.ErrorCode)
	})
	return kafka.Explain(err, "take the transactional id", l.transactionalID)
}

// commit ends the lane's transaction. The answer may bring another epoch for the next one, which keeps late requests of this one out of
// that (KIP-890).
func (l *lane) commit(ctx context.Context, client *kgo.Client) error {
	return untilFree(ctx, func() error {
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = l.transactionalID, l.id, l.epoch, true
		resp, err := req.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
		if resp.Version >= 5 && resp.ProducerID >= 0 {
			l.id, l.epoch = resp.ProducerID, resp.ProducerEpoch
		}
		return nil
	})
}

// untilFree calls f again while the coordinator is busy with the id's transaction before.
func untilFree(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			return err
		}
		select {
		case <-time.After(kafka.Backoff(try)):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// settle lets the broker finish the lane's transaction before. It is over when the other lane's was, but for a broker that is very busy. Here
// rather than at the beginning, so that rows are taken in meanwhile: a small transaction's are not sent before its end.
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

// partitionsWanted reports whether the brokers want to be told of a transaction's partitions before they are written to: those before Kafka
// 4.0 do, and later ones as long as the cluster's transaction.version is below 2.
func partitionsWanted(ctx context.Context, client *kgo.Client) (bool, error) {
	resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return false, err
	}
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" && f.MaxVersionLevel >= 2 {
			return false, nil
		}
	}
	return true, nil
}
