package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
)

// Lost is the end of a Publisher: whether its last transaction is in Kafka is unknown. Its Problem says what is
// next: Retry, drop all memory and open again; Fatal with Fenced set, exit; Poison, a table has to be stopped
// before the next try; Configuration, a person has to act.
type Lost struct {
	// Fenced: another source has taken a transactional id. It is not taken back: the process ends, and a
	// supervisor's next start waits as a standby.
	Fenced  bool
	Problem *change.Problem
}

// Error returns the problem in one line.
func (l *Lost) Error() string { return l.Problem.Error() }

// Unwrap returns the problem, whose kind decides what happens next.
func (l *Lost) Unwrap() error { return l.Problem }

// recordError is what became of one record.
type recordError struct {
	topic     string
	partition int32
	err       error
}

func (e *recordError) Error() string {
	return fmt.Sprintf("produce to %s/%d: %v", e.topic, e.partition, e.err)
}

func (e *recordError) Unwrap() error { return e.err }

// lostBy explains the cause. open is how long the transaction had been open.
func lostBy(cause error, step, prefix string, lane int, open, timeout time.Duration) *Lost {
	if known := (*Lost)(nil); errors.As(cause, &known) {
		return known
	}
	where := fmt.Sprintf("transactional id %s, %s", laneID(prefix, lane), step)
	fenced := errors.Is(cause, kerr.ProducerFenced) || errors.Is(cause, kerr.InvalidProducerEpoch)
	switch {
	case fenced && open >= timeout:
		// The broker ends a transaction that is open for too long by the same means as a successor does.
		return &Lost{Problem: &change.Problem{
			Kind: change.Retry, What: "the broker gave up on a transaction that was open for too long", Where: where, Err: cause,
			Why:  fmt.Sprintf("it was open for %v, the limit is %v: the brokers or this process stood still", open.Round(time.Millisecond), timeout),
			Mend: "look at the brokers' load; transaction_timeout can be raised up to transaction.max.timeout.ms of the brokers",
		}}
	case fenced:
		return &Lost{Fenced: true, Problem: &change.Problem{
			Kind: change.Fatal, What: "another source has taken over", Where: where, Err: cause,
			Why:  "two sources of one name would publish every row twice; the later one wins",
			Mend: "run one source of this name; `sluice status` shows where the other one is",
		}}
	case errors.Is(cause, context.DeadlineExceeded), errors.Is(cause, context.Canceled):
		return &Lost{Problem: &change.Problem{
			Kind: change.Retry, What: "Kafka did not answer in time", Where: where, Err: cause,
			Why: "whether the transaction is in Kafka is unknown until it is opened again",
		}}
	}
	var problem *change.Problem
	var record *recordError
	if errors.Is(cause, kerr.MessageTooLarge) && errors.As(cause, &record) {
		// Coming back would meet the same row again: its table has to be stopped, or the topic mended, first.
		table, _ := kafka.TableOf(prefix, record.topic)
		return &Lost{Problem: &change.Problem{
			Kind: change.Poison, Table: table, What: "a broker refuses a record for its size", Where: where, Err: cause,
			Why:  "max.message.bytes of the topic, or message.max.bytes of the brokers, is below kafka.max_message_bytes",
			Mend: fmt.Sprintf("kafka-configs --alter --topic %s --add-config max.message.bytes=…; then crawl the table", record.topic),
		}}
	}
	if !errors.As(kafka.Explain(cause, "a transaction was lost", where), &problem) {
		problem = &change.Problem{Kind: change.Retry, What: "a transaction was lost", Where: where, Err: cause}
	}
	return &Lost{Problem: problem}
}
