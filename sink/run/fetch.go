package run

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/kafka"
)

// spot is a partition of a topic by name.
type spot struct {
	topic     string
	partition int32
}

// pollRecords bounds what one poll hands out: so much may come above a queue's bound, and a command waits no longer than
// for this.
const pollRecords = 2_000

// fetcher reads the partitions that it is told to and puts the records into their queues. All changes to what is read
// are made by its own goroutine between two polls: then a poll never returns records of a partition from before it was
// removed or set back.
type fetcher struct {
	client *kgo.Client
	queues map[spot]*queue // used by run's goroutine only

	mu       sync.Mutex // guards the following
	commands []func()
	wake     context.CancelFunc // ends the poll that is under way
	ended    bool
}

func newFetcher(client *kgo.Client) *fetcher {
	return &fetcher{client: client, queues: make(map[spot]*queue)}
}

// start reads the partition from the offset on into the queue.
func (f *fetcher) start(at spot, offset int64, q *queue) {
	f.do(func() {
		f.queues[at] = q
		f.client.ResumeFetchPartitions(map[string][]int32{at.topic: {at.partition}})
		f.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{
			at.topic: {at.partition: kgo.NewOffset().At(offset)},
		})
	})
}

// stop reads it no more; when it returns nothing will be put into the queue again.
func (f *fetcher) stop(at spot) {
	f.do(func() {
		delete(f.queues, at)
		f.client.RemoveConsumePartitions(map[string][]int32{at.topic: {at.partition}})
	})
}

// do has run's goroutine call the command and waits for it.
func (f *fetcher) do(command func()) {
	done := make(chan struct{})
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		return
	}
	f.commands = append(f.commands, func() { command(); close(done) })
	if f.wake != nil {
		f.wake()
	}
	f.mu.Unlock()
	<-done
}

// run polls until ctx ends.
func (f *fetcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		poll, cancel := context.WithCancel(ctx)
		f.obey(cancel)
		fetches := f.client.PollRecords(poll, pollRecords)
		cancel()
		f.distribute(fetches)
	}
	f.mu.Lock()
	f.ended = true
	commands := f.commands
	f.mu.Unlock()
	for _, command := range commands {
		command()
	}
}

// obey runs the commands that wait; one that comes from now on ends the poll by cancel.
func (f *fetcher) obey(cancel context.CancelFunc) {
	for {
		f.mu.Lock()
		commands := f.commands
		f.commands = nil
		if len(commands) == 0 {
			f.wake = cancel
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		for _, command := range commands {
			command()
		}
	}
}

func (f *fetcher) distribute(fetches kgo.Fetches) {
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		at := spot{p.Topic, p.Partition}
		q := f.queues[at]
		if q == nil {
			return
		}
		if len(p.Records) > 0 && q.put(p.Records) {
			f.client.PauseFetchPartitions(map[string][]int32{p.Topic: {p.Partition}})
		}
		if p.Err != nil {
			q.fail(kafka.Explain(p.Err, "read the partition", sayPartition(at)))
		}
	})
}
