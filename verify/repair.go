package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink"
)

const (
	// repairKeys and repairBytes bound one signal, and so one crawl of named keys.
	repairKeys  = 1000
	repairBytes = 256 << 10
	// repairPatience is how long a source may take to take up a signal, or to get on with it.
	repairPatience = time.Minute
)

// Repairs returns the signals that have the sources publish the report's differing keys anew, table by table. It is pure.
//
// Each key is looked up in its table by a crawl of named keys: found, the row is published once more, with a version above all that was
// published before; gone, a delete and a tombstone are. Sinks do the rest, by version, so that whatever is written meanwhile wins; and
// since such an event does not say where the row stood before, it takes it out of every place where it does not belong.
func Repairs(r *Report, by string) ([]Repair, error) {
	var all []Repair
	for i := range r.Tables {
		t := &r.Tables[i]
		var part [][]string
		size := 0
		flush := func() error {
			if len(part) == 0 {
				return nil
			}
			text, err := json.Marshal(part)
			all = append(all, Repair{Topic: t.Topic, Source: t.Source, Keys: len(part),
				Signal: kafka.Signal{Kind: kafka.CrawlStart, Table: t.Table, Keys: string(text), By: by}})
			part, size = nil, 0
			return err
		}
		for _, d := range t.Rows {
			length := 4
			for _, k := range d.Key {
				length += 2*len(k) + 4
			}
			if len(part) == repairKeys || size+length > repairBytes {
				if err := flush(); err != nil {
					return nil, err
				}
			}
			part, size = append(part, d.Key), size+length
		}
		if err := flush(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Repair is one signal.
type Repair struct {
	Topic  string       `json:"topic"`
	Source string       `json:"source"`
	Keys   int          `json:"keys"`
	Signal kafka.Signal `json:"signal"`
}

// Repair sends the signals, waits until the sources have published and the target has applied what came of them, and looks at the
// keys again. The report is of these keys alone. Topics, Servers and Waiter are as for Compare.
func (r *Run) Repair(ctx context.Context, repairs []Repair, report *Report) (*Report, error) {
	scanner, ok := sink.Ability[sink.Scanner](r.Target)
	if !ok {
		return nil, &change.Problem{Kind: change.Configuration, What: "this target cannot be read back", Why: "it has no Scan"}
	}
	began := time.Now()
	r.State = &State{Tables: make(map[string]*tableState)}
	r.Topics = slices.DeleteFunc(slices.Clone(r.Topics), func(t Topic) bool {
		return !slices.ContainsFunc(repairs, func(p Repair) bool { return p.Topic == t.Name })
	})
	if err := r.prepare(ctx, scanner); err != nil {
		return nil, err
	}
	for i := range repairs {
		p := &repairs[i]
		if r.tableOf(p.Topic) == nil {
			return nil, &change.Problem{Kind: change.Configuration, What: p.Topic + " is not among the topics of this page"}
		}
	}
	if err := r.Waiter.Republish(ctx, repairs); err != nil {
		return nil, err
	}
	for _, t := range r.tables {
		if err := t.lookAgain(ctx, report); err != nil {
			return nil, err
		}
	}
	out := r.report()
	out.Started, out.Seconds = began, time.Since(began).Seconds()
	return out, nil
}

func (r *Run) tableOf(topic string) *tableRun {
	for _, t := range r.tables {
		if t.topic.Name == topic {
			return t
		}
	}
	return nil
}

// Republish sends the signals and waits until the sources have published what they ask for. Of the Waiter it needs the client alone.
func (w *Waiter) Republish(ctx context.Context, repairs []Repair) (err error) {
	for i := range repairs {
		p := &repairs[i]
		if p.Signal.ID, err = kafka.SendSignal(ctx, w.Client, p.Source, p.Signal); err != nil {
			return err
		}
	}
	for i := range repairs {
		if err := w.crawled(ctx, &repairs[i]); err != nil {
			return err
		}
	}
	return nil
}

// crawled waits until the crawl that the signal asked for is over.
func (w *Waiter) crawled(ctx context.Context, p *Repair) error {
	still, seen := pace{waiter: &Waiter{Patience: repairPatience, Notice: w.Notice}, began: time.Now(), poll: waitPollFirst}, false
	for {
		if _, _, err := w.checkpoint(ctx, p.Source, nil, logApplied); err != nil {
			return ended(ctx, err, still.last)
		}
		k := w.crawl(p.Source, p.Signal.ID)
		behind := Behind{What: fmt.Sprintf("the source %s has not taken up the signal %s yet", p.Source, p.Signal.ID)}
		switch {
		case k == nil && seen: // those that are over long ago are forgotten
			return nil
		case k == nil:
		case k.State == "done":
			return nil
		case k.State == "failed" || k.State == "cancelled":
			return &change.Problem{Kind: change.Retry, What: fmt.Sprintf("the crawl %s of %s is %s", k.ID, k.Table, k.State), Why: k.Reason, Mend: "sluice crawl list"}
		default:
			seen = true
			behind = Behind{What: fmt.Sprintf("the crawl %s of %s is %s", k.ID, k.Table, k.State), moved: fmt.Sprint(k.Rows, k.Ranges)}
		}
		if err := still.again(ctx, behind, nil); err != nil {
			return &change.Problem{Kind: change.Retry, What: "the source has not published the rows anew", Where: behind.What, Err: err,
				Mend: "does the source run? sluice status; what became of the crawl: sluice crawl list"}
		}
	}
}

// crawl returns a crawl's record in the checkpoint, as it was read last, nil where there is none.
func (w *Waiter) crawl(source, id string) *kafka.CrawlState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.followers[source].Crawl(id)
}

// lookAgain looks at the keys that the report lists of this table.
func (t *tableRun) lookAgain(ctx context.Context, report *Report) error {
	var keys []string
	for i := range report.Tables {
		if r := &report.Tables[i]; r.Topic != t.topic.Name || r.Target != t.result.Target {
			continue
		}
		for _, d := range report.Tables[i].Rows {
			key, err := t.parseKeyText(d.Key)
			if err != nil {
				return err
			}
			keys = append(keys, key)
		}
	}
	began := time.Now()
	var result TableResult
	err := t.settle(ctx, keys, &result)
	result.SourceRows = int64(len(keys))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.result.Seconds = time.Since(began).Seconds()
	t.result.add(&result)
	return err
}

// parseKeyText reads what keyText wrote.
func (t *tableRun) parseKeyText(texts []string) (string, error) {
	if len(texts) != len(t.published.Key) {
		return "", fmt.Errorf("a key of %s has %d columns, the report's has %d", t.published, len(t.published.Key), len(texts))
	}
	values := make([]change.Value, len(texts))
	for i, text := range texts {
		var err error
		if values[i], err = parseKeyText(&t.published.Columns[t.published.Key[i]], text); err != nil {
			return "", fmt.Errorf("key %q of %s: %w", texts, t.published, err)
		}
	}
	var key []byte
	for i, v := range t.targetKey(values) {
		key = appendKeyValue(key, &t.table.Columns[t.table.Key[i]], v)
	}
	return string(key), nil
}
