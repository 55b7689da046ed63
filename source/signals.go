package source

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/source/crawl"
)

// takeSignals carries out the commands of the signal topic. Each is taken in with the same Kafka transaction that makes
// what it asks for durable, so none is lost and none is carried out twice.
//
// It has a client of its own: requests on one connection are answered in order, and each of the tail's is held back by the
// broker for half a second, which every fetch of a sweep would wait for.
func (x *session) takeSignals(ctx context.Context) error {
	client, err := kafka.NewClient(x.cfg.Kafka)
	if err != nil {
		return err
	}
	defer client.Close()
	return kafka.TailSignals(ctx, client, x.cfg.Name, x.pub.Checkpoint().Signal, func(sig kafka.Signal, taken kafka.SignalState) error {
		return x.loop.call(ctx, func(ctx context.Context) error {
			if err := x.signal(ctx, &sig); err != nil {
				if change.SeverityOf(err) != change.Poison {
					return err
				}
				x.log.Error("a signal cannot be carried out", "signal", sig.ID, "kind", sig.Kind, "error", err)
				x.stats.failed(err)
			}
			x.loop.dirty = true
			return x.pub.Set(&taken)
		})
	})
}

// signal carries out one command, in the loop.
func (x *session) signal(ctx context.Context, sig *kafka.Signal) error {
	if sig.Invalid != nil {
		return &change.Problem{Kind: change.Poison, What: "a signal cannot be read", Err: sig.Invalid, Mend: "send signals by: sluice crawl start"}
	}
	switch sig.Kind {
	case kafka.CrawlStart:
		return x.signalCrawl(ctx, sig)
	case kafka.CrawlCancel:
		x.wishCancel(ctx, sig.Crawl)
		return nil
	}
	return &change.Problem{Kind: change.Poison, What: fmt.Sprintf("unknown signal %q", sig.Kind), Mend: "see: sluice crawl --help"}
}

func (x *session) signalCrawl(ctx context.Context, sig *kafka.Signal) error {
	name, err := change.ParseTableName(sig.Table)
	if err != nil {
		return &change.Problem{Kind: change.Poison, What: "a crawl of " + sig.Table, Err: err, Mend: "name it as database.table"}
	}
	t, err := x.loop.known(ctx, name)
	if err != nil {
		return err
	}
	if t == nil {
		return &change.Problem{Kind: change.Poison, Table: name, What: name.String() + " is not captured by this source",
			Mend: "add a rule for it under tables: in the source's config"}
	}
	if !t.live() { // what was missed while it was stopped may be any row: nothing less than all of it will do
		if err := x.loop.commitFirst(ctx); err != nil {
			return err
		}
		if err := x.pinned(ctx, &t.state); err != nil {
			return err
		}
		if err := x.loop.resume(ctx, t); err != nil {
			return err
		}
		sig.Where, sig.Keys = "", ""
	}
	whole := sig.Where == "" && sig.Keys == ""
	t.state.Fresh, t.state.Left = false, false
	if err := x.pub.Set(&t.state); err != nil {
		return err
	}
	return x.loop.wish(t, crawl.Request{ID: sig.ID, Table: name, Where: sig.Where, Keys: sig.Keys, Sweep: whole}, "asked for by a signal")
}

// wishCancel cancels outside of the loop, which the manager may be waiting for.
func (x *session) wishCancel(ctx context.Context, id string) {
	go func() {
		if err := x.crawls.Cancel(ctx, id); err != nil && ctx.Err() == nil {
			x.log.Error("a crawl could not be cancelled", "crawl", id, "error", err)
		}
	}()
}

// writeStatus says once how far the source is. Brokers that do not answer it soon make the source not ready: the loop itself
// may be waiting for them until the transaction's time is up.
func (x *session) writeStatus(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	err := x.reporter.Write(soon, kafka.RoleSource, x.stats.Report())
	if ctx.Err() != nil {
		return err
	}
	var silent *change.Problem
	if errors.As(err, &silent) {
		x.stats.alive(&change.Problem{What: "the brokers do not answer", Where: strings.Join(x.cfg.Kafka.Brokers, ","), Why: silent.Why, Mend: silent.Mend})
	} else {
		x.stats.alive(nil)
	}
	return err
}

// statusTime is how long a status may take to reach the brokers.
const statusTime = 4 * statusEvery

// statusEvery is how often the source says that it is alive.
const statusEvery = time.Second

// tellStatus writes what the source is doing to the status topic.
func (x *session) tellStatus(ctx context.Context) error {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for last := time.Now(); ; {
		x.stats.crawls(x.crawls.List())
		if err := x.writeStatus(ctx); err != nil && ctx.Err() == nil {
			x.log.Warn("status could not be written", "error", err)
		} else if silent := time.Since(last); silent > standbyQuiet/2 && ctx.Err() == nil {
			x.log.Warn("the source was silent; it commits to see whether another has taken over", "seconds", silent.Seconds())
			err := x.loop.call(ctx, func(context.Context) error { x.loop.dirty = true; return nil })
			if err != nil {
				return err
			}
			last = time.Now()
		} else {
			last = time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
