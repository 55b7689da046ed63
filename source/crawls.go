package source

import (
	"context"
	"fmt"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/source/crawl"
)

// openCrawls makes the crawl manager with the crawls of the checkpoint, and asks for one of each table that has never been
// read whole.
func (x *session) openCrawls(ctx context.Context, saved []crawl.Progress, wanted []change.TableName) (err error) {
	x.crawls, err = crawl.New(crawl.Config{
		Facts: x.facts, Workers: x.cfg.Crawl.Workers, Bytes: x.cfg.Crawl.ChunkBytes, Log: x.log,
		Key: func(t change.TableName) []string {
			if rule := x.cfg.Rule(t); rule != nil {
				return rule.Key
			}
			return nil
		},
		Topic: topicKeys{x},
	}, x.db, x.stream)
	if err != nil {
		return err
	}
	x.crawls.Restore(saved)
	x.loop.crawls = starter{ctx, x.crawls}
	running := make(map[change.TableName]bool)
	for i := range saved {
		c := &saved[i]
		running[c.Table] = running[c.Table] || !crawl.Ended(c.State)
		if t := x.loop.tables[c.Table]; t != nil {
			t.doubt(c)
		}
	}
	for name, t := range x.loop.tables {
		why := ""
		switch {
		case !t.live() || x.lost:
			continue
		case t.state.Left:
			why = "the config captures it again"
		case t.state.Shape != t.rule.fingerprint():
			why = "what the config lets out of it has changed"
			t.state.Shape = t.rule.fingerprint()
		case !t.state.Crawled && !running[name]:
			why = "it was never crawled to the end"
		default:
			continue
		}
		if err := x.loop.recrawl(t, why); err != nil {
			return err
		}
	}
	if x.lost {
		if err := x.loop.recrawlAll("the history since the checkpoint was given up by the operator"); err != nil {
			return err
		}
	}
	x.loop.then = append(x.loop.then, func() { // what was accepted is done: a later session must not do it again
		x.accept.LostTransactions, x.accept.Anew, x.accept.Forget = false, false, nil
	})
	for _, name := range wanted {
		if _, err := x.loop.known(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// starter is the crawl manager as the loop needs it.
type starter struct {
	ctx context.Context
	*crawl.Manager
}

// Start asks for a crawl; it does not wait.
func (s starter) Start(r crawl.Request) (crawl.Progress, error) { return s.Manager.Start(s.ctx, r) }

// recrawl asks for a crawl of a table over the top, with a sweep for what is gone. Its record is in the checkpoint with
// the same Kafka transaction that passes what made it necessary: a crash does not forget it.
func (l *loop) recrawl(t *table, why string) error {
	t.state.Fresh, t.state.Left = false, false // rows may have changed without the stream saying where they stood
	if err := l.pub.Set(&t.state); err != nil {
		return err
	}
	return l.crawlWhole(t, why)
}

// firstCrawl asks for the crawl of a table that is met for the first time.
func (l *loop) firstCrawl(t *table) error { return l.crawlWhole(t, "the table is new to this source") }

func (l *loop) crawlWhole(t *table, why string) error {
	where := ""
	if !t.state.Crawled {
		where = t.rule.Crawl.Where
	}
	return l.wish(t, crawl.Request{Table: t.name, Where: where, Sweep: true}, why)
}

// wish asks the manager for a crawl, which does not wait, and makes its record durable with the open Kafka transaction.
func (l *loop) wish(t *table, r crawl.Request, why string) error {
	l.version = l.version.Next(0) // so that no two wishes have one name, and the sweep's bound is above all that was delivered
	r.Since = l.version
	if r.ID == "" {
		r.ID = fmt.Sprintf("%s-%d", t.name, int64(l.version))
	}
	record, err := l.crawls.Start(r)
	if err != nil {
		return err
	}
	t.doubt(&record) // not what was asked for: a signal can come twice
	l.log.Info("crawl wanted", "crawl", r.ID, "table", t.name.String(), "reason", why)
	l.dirty = true
	return l.pub.Set(&record)
}

// topicKeys reads a table's own topic for the sweep.
type topicKeys struct{ *session }

// Keys calls each for the keys, unframed, whose newest record is a put older than the version. A fresh topic has none but what the stream
// brought since it was made, whose deletes it brought too, so that the first crawl of a large table need not read all of it back.
func (k topicKeys) Keys(ctx context.Context, name change.TableName, older change.Version, pass, passes int, each func([]byte) error) error {
	var topic string
	err := k.loop.call(ctx, func(context.Context) error {
		if t := k.loop.tables[name]; t != nil && !t.state.Fresh {
			topic = t.state.Topic
		}
		return nil
	})
	if err != nil || topic == "" {
		return err
	}
	return kafka.NewestKeys(ctx, k.client, topic, older, pass, passes, func(key []byte) error {
		_, body, err := registry.ReadFrame(key)
		if err != nil {
			return fmt.Errorf("topic %s: a key is not framed: %w", topic, err)
		}
		return each(body)
	})
}
