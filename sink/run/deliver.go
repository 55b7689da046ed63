package run

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/mutant"
	"github.com/sluice-cdc/sluice/sink"
)

// unreadyAfter is how many tries a worker makes before the process says that it is not ready.
const unreadyAfter = 5

// deliver applies what is pending, however long it takes. It returns an error only where the worker has to end or
// must find out anew where to begin.
func (w *worker) deliver(p *pending) error {
	for tries := 1; ; tries++ {
		if err := w.gate(); err != nil {
			return err
		}
		err := w.attempt(p)
		if err == nil {
			w.s.releaseTopic(w)
			w.s.health.Clear(w.healthKey())
			return nil
		}
		var lost *sink.OwnershipLost
		if w.ctx.Err() != nil || errors.As(err, &lost) {
			return err
		}
		sent, err := w.letter(p, err)
		if sent {
			tries = 0
			continue
		}
		if head := p.passable(err); head != nil { // the topic stops at the record, not before those that came with it
			if err := w.deliver(head); err != nil {
				return err
			}
			tries = 0
			continue
		}
		if !w.outlast(err, tries) {
			return errStopped
		}
	}
}

// passable takes the records out of p that lie before the one that the error names.
func (p *pending) passable(err error) *pending {
	var refused *sink.Refused
	if change.SeverityOf(err) != change.Poison || !errors.As(err, &refused) {
		return nil
	}
	return p.before(refused.Offset)
}

// attempt decodes and applies once.
func (w *worker) attempt(p *pending) error {
	select {
	case w.s.slots <- struct{}{}:
		defer func() { <-w.s.slots }()
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
	w.setState("applying")
	changes, err := w.decoder.batch(w.ctx, p)
	if err != nil {
		return err
	}
	if err := w.s.prepare(w.ctx, w.begun.partition.Source, changes); err != nil {
		return err
	}
	if err := w.alive(); err != nil {
		return err
	}
	b := &sink.Batch{Group: w.s.config.Group, Partition: w.begun.partition, From: p.from, Next: p.next, Epoch: w.begun.epoch,
		ThroughMillis: w.through(p), Changes: changes, Bytes: p.bytes}
	if again := w.begun.rewound.at(p.from); again.reached > 0 {
		b.Reached, b.Resend = again.reached, again.resend
	}
	if mutant.OffsetsFirst {
		w.advance(p, b.ThroughMillis, changes)
	}
	began := time.Now()
	err = w.s.target.Apply(w.ctx, b)
	w.s.metrics.applied(w.at, b, time.Since(began), err)
	if err != nil {
		return err
	}
	w.advance(p, b.ThroughMillis, changes)
	return nil
}

// alive makes sure, for a target that cannot tell a late owner itself, that the group still counts on us (rule R6): a
// process that slept must not apply what another has taken over.
func (w *worker) alive() error {
	if w.s.progress != nil {
		return nil
	}
	if age := w.s.pulse.age(); age > w.s.config.SessionTimeout {
		return &change.Problem{Kind: change.Retry, What: "no heartbeat was answered for " + age.Round(time.Second).String(),
			Where: sayPartition(w.at), Why: "the partition may belong to another member by now"}
	}
	return nil
}

// gate waits while another partition has stopped the topic.
func (w *worker) gate() error {
	for {
		s := w.topic.halted()
		if s == nil || s.by == w {
			return nil
		}
		w.setState("paused")
		select {
		case <-s.over:
		case <-w.again:
			return errAgain
		case <-w.stop:
			return errStopped
		case <-w.ctx.Done():
			return w.ctx.Err()
		}
	}
}

// outlast does what an error's kind asks for: it waits before the next try, stops the topic, or ends the process. It
// returns false where the worker has to end.
func (w *worker) outlast(err error, tries int) bool {
	if w.ended() || errors.Is(err, context.Canceled) && w.s.hard.Err() != nil {
		return false
	}
	err = withReason(err)
	w.mu.Lock()
	w.view.err, w.view.tries = err, tries
	w.mu.Unlock()
	switch change.SeverityOf(err) {
	case change.Retry:
		return w.retry(err, tries)
	case change.Poison:
		return w.halt(err)
	default:
		w.s.fail(err)
		return false
	}
}

// withReason says why an error of the target or the brokers matters, where nobody has said it.
func withReason(err error) error {
	var p *change.Problem
	if !errors.As(err, &p) || p.Why != "" {
		return err
	}
	said := &change.Problem{Kind: p.Kind, What: err.Error(), Mend: p.Mend, See: p.See, Table: p.Table}
	switch p.Kind {
	case change.Retry:
		said.Why = "nothing is lost: the log keeps what is not applied, and it goes on where the target stands"
	case change.Configuration:
		said.Why = "nothing can be applied, and trying again would not help"
	default:
		return err
	}
	return said
}

func (w *worker) retry(err error, tries int) bool {
	w.setState("retrying")
	w.s.metrics.retries.WithLabelValues(w.at.topic).Inc()
	pause := backoff(tries)
	w.s.log.Warn("trying again", "topic", w.at.topic, "partition", w.at.partition, "tries", tries,
		"wait", pause.Round(time.Millisecond), "error", err)
	if tries >= unreadyAfter {
		w.s.health.Set(w.healthKey(), err)
	}
	return w.wait(pause)
}

// healthKey names the worker's reason not to be ready.
func (w *worker) healthKey() string { return "partition " + sayPartition(w.at) }

// halt stops the topic (rule R9) until the next try.
func (w *worker) halt(err error) bool {
	if w.topic.halt(w, err) {
		w.setState("stopped")
		w.s.metrics.paused.WithLabelValues(w.at.topic).Set(1)
		w.s.health.Set("topic "+w.at.topic, err)
		w.s.log.Error("topic stopped; others go on", "topic", w.at.topic, "partition", w.at.partition,
			"again_in", w.s.config.RetryStopped, "error", change.Explain(err))
		return w.wait(w.s.config.RetryStopped)
	}
	return true // another partition has stopped it: gate waits for that one
}
