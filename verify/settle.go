package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/sink"
)

const (
	// quickKeys is how many keys are looked at again together where only their rows' hashes are held, and sureKeys where their rows are, of
	// both sides.
	quickKeys = chunkRowsMax
	sureKeys  = 500
	// settleRounds bounds how often a key that is touched each time is looked at; the pause grows from round to round.
	settleRounds   = 40
	settlePauseMax = time.Second
	// settleFailures is how often in a row brokers and servers in motion are borne with.
	settleFailures = 10
	// valueMax is how much of a value is kept to be shown.
	valueMax = 64 << 10
)

// settle looks at keys again until each is equal, or surely differs (see the package comment), and notes what it finds. It does so in two
// steps. The quick one looks at all keys of a range together: it costs one wait for the target, which may be long, however many keys
// were only on their way. What differs then is looked at anew, once nothing is pending that would mend it, and with its images: what
// this look says counts.
func (t *tableRun) settle(ctx context.Context, keys []string, into *TableResult) error {
	into.LookedAgain += int64(len(keys))
	for many := range slices.Chunk(keys, quickKeys) {
		var doubtful []string
		err := t.rounds(ctx, many, quick, into, func(key string, _ Kind, _ *Look) error {
			doubtful = append(doubtful, key)
			return nil
		})
		if err != nil {
			return err
		}
		for some := range slices.Chunk(doubtful, sureKeys) {
			err := t.rounds(ctx, some, sure, into, func(key string, kind Kind, l *Look) error { return t.differs(key, kind, l, into) })
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// care is how a look is made.
type care bool

const (
	quick care = false // hashes only, whatever crawls are pending
	sure  care = true
)

// rounds looks at the keys until all are decided, and calls differs with each that is not equal.
func (t *tableRun) rounds(ctx context.Context, open []string, how care, into *TableResult, differs func(string, Kind, *Look) error) error {
	failed := 0
	for round := 0; len(open) > 0; round++ {
		if round == settleRounds {
			into.Undecided += int64(len(open))
			return nil
		}
		if round > 1 {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(min(time.Duration(round)*20*time.Millisecond, settlePauseMax)):
			}
		}
		look, err := t.look(ctx, open, how)
		if err != nil && passes(err) && failed < settleFailures {
			failed++
			t.run.Log.Warn("a look at some rows failed; trying again", "table", t.table.String(), "error", err)
			continue
		}
		if err != nil {
			return err
		}
		failed = 0
		var again []string
		for _, key := range open {
			switch verdict, kind := look.Decide(key); verdict {
			case Again:
				again = append(again, key)
			case Differing:
				if err := differs(key, kind, look); err != nil {
					return err
				}
			}
		}
		open = again
	}
	return nil
}

// passes reports whether an error is expected to pass. What was waited for in vain already is not.
func passes(err error) bool {
	return change.SeverityOf(err) == change.Retry && !errors.Is(err, errStill)
}

// look is one round: the five steps of the package comment.
func (t *tableRun) look(ctx context.Context, open []string, how care) (*Look, error) {
	keys := make([][]change.Value, len(open))
	wanted := make(map[string]bool, len(open))
	for i, key := range open {
		var err error
		if keys[i], err = parseKey([]byte(key)); err != nil {
			return nil, err
		}
		wanted[key] = true
	}
	l := &Look{Want: make(map[string][]Place), Found: make(map[string][]Place), Touched: make(map[string]bool), Events: make(map[string][]Event)}
	from, _, err := kafka.StableEnds(ctx, t.run.Waiter.Client, t.topic.Name)
	if err != nil {
		return nil, err
	}
	mark, err := t.lookAtSource(ctx, keys, how, wanted, l)
	if err != nil {
		return nil, err
	}
	if err := t.applied(ctx, mark, how); err != nil {
		return nil, err
	}
	if err := t.lookAtTarget(ctx, keys, how, wanted, l); err != nil {
		return nil, err
	}
	to, _, err := kafka.StableEnds(ctx, t.run.Waiter.Client, t.topic.Name)
	if err != nil {
		return nil, err
	}
	return l, t.touched(ctx, from, to, wanted, l)
}

// applied waits until the target has applied everything up to the mark. A target that stands still is the end of verify: what
// would then differ is not a difference.
func (t *tableRun) applied(ctx context.Context, mark Mark, how care) error {
	wait := t.run.Waiter.Wait
	if how == quick {
		wait = t.run.Waiter.WaitForLog
	}
	err := wait(ctx, t.topic.Source, []Topic{t.topic}, mark)
	var late *NotApplied
	if errors.As(err, &late) && errors.Is(err, errStill) {
		return &change.Problem{Kind: change.Retry, Table: t.table.TableName, What: "the target does not go on", Where: late.Behind.What, Err: late.Err,
			Why: "rows that are still on their way would be taken for differences", Mend: "see what holds it up: sluice status; then verify again"}
	}
	return err
}

// lookAtSource is step 2.
func (t *tableRun) lookAtSource(ctx context.Context, keys [][]change.Value, how care, wanted map[string]bool, l *Look) (Mark, error) {
	published, _, err := t.run.Waiter.checkpoint(ctx, t.topic.Source, nil, logApplied)
	if err != nil {
		return Mark{}, err
	}
	x, err := t.source.server.session(ctx)
	if err != nil {
		return Mark{}, err
	}
	defer x.close()
	if err := x.visible(ctx, published); err != nil {
		return Mark{}, err
	}
	rows := NewRows(t.table)
	atSource := make([][]change.Value, len(keys))
	for i := range keys {
		atSource[i] = t.sourceKey(keys[i])
	}
	err = t.source.rowsOf(ctx, x, atSource, func(values []change.Value) error {
		places, err := t.shaped(rows, values)
		if err != nil {
			return err
		}
		for i := range places {
			if err := keepPlace(rows, &places[i], how, wanted, l.Want); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Mark{}, err
	}
	mark, err := t.source.server.mark(ctx, x.conn)
	return mark, t.source.server.config.Problem(err)
}

// lookAtTarget is step 4.
func (t *tableRun) lookAtTarget(ctx context.Context, keys [][]change.Value, how care, wanted map[string]bool, l *Look) error {
	rows := NewRows(t.table)
	request := sink.Scan{Source: t.topic.Source, Table: t.table, Keys: keys}
	err := t.scanner.Scan(ctx, request, func(row sink.Row) error { return keepPlace(rows, &row, how, wanted, l.Found) })
	if err != nil {
		return fmt.Errorf("read %s at the target: %w", t.table, err)
	}
	return nil
}

// keepPlace keeps a row that is one of those wanted. A server may find others for the same keys: its collation takes them for equal.
func keepPlace(rows *Rows, row *sink.Row, how care, wanted map[string]bool, into map[string][]Place) error {
	key, err := rows.Key(row)
	if err != nil || !wanted[string(key)] {
		return err
	}
	name := string(key)
	sum, err := rows.Sum(row)
	if err != nil {
		return err
	}
	p := Place{Shard: row.Shard, Sum: sum, Columns: row.Columns, Version: row.Version}
	if how == sure {
		p.Values = make([]change.Value, len(row.Values))
		for i, v := range row.Values {
			v.Bytes = slices.Clone(v.Bytes[:min(len(v.Bytes), valueMax)])
			p.Values[i] = v
		}
	}
	into[name] = append(into[name], p)
	return nil
}

// touched is step 5.
func (t *tableRun) touched(ctx context.Context, from, to kafka.Ends, wanted map[string]bool, l *Look) error {
	rows := NewRows(t.table)
	return kafka.RecordsBetween(ctx, t.run.Waiter.Client, t.topic.Name, t.topic.ID, from, to, func(rec *kgo.Record) error {
		key, err := t.recordKey(ctx, rec.Key)
		if err != nil || !wanted[key] {
			return err
		}
		l.Touched[key] = true
		if rec.Value == nil || !shows(l.Found[key], rec) {
			return nil
		}
		event, err := t.event(ctx, rows, rec)
		if err == nil && event != nil {
			l.Events[key] = append(l.Events[key], *event)
		}
		return err
	})
}

// shows reports whether the target shows the record's version in any place: no other event says anything of what it shows.
func shows(found []Place, rec *kgo.Record) bool {
	version, ok := kafka.RecordVersion(rec)
	return ok && slices.ContainsFunc(found, func(p Place) bool { return p.Version == version })
}

// recordKey returns the key of a record of the topic.
func (t *tableRun) recordKey(ctx context.Context, framed []byte) (string, error) {
	id, body, err := registry.ReadFrame(framed)
	if err != nil {
		return "", err
	}
	decoder, err := t.keyDecoder(ctx, id)
	if err != nil {
		return "", err
	}
	values, err := decoder.Decode(body, nil)
	if err != nil {
		return "", err
	}
	if len(values) != len(t.published.Key) {
		return "", fmt.Errorf("a key of %s has %d columns, the table's has %d", t.topic.Name, len(values), len(t.published.Key))
	}
	var key []byte
	for i, v := range t.targetKey(values) {
		key = appendKeyValue(key, &t.table.Columns[t.table.Key[i]], v)
	}
	return string(key), nil
}

// event decodes what a record says of its row, nil where it has another form of the table than the one that is compared.
func (t *tableRun) event(ctx context.Context, rows *Rows, rec *kgo.Record) (*Event, error) {
	version, _ := kafka.RecordVersion(rec)
	id, body, err := registry.ReadFrame(rec.Value)
	if err != nil || id != t.valueID {
		return nil, err
	}
	var d avro.Decoded
	if err := t.value.Decode(body, &d); err != nil {
		return nil, err
	}
	e := &Event{Version: version}
	if d.After == nil {
		return e, nil
	}
	places, err := t.shaped(rows, d.After)
	if err != nil {
		return nil, err
	}
	for i := range places {
		sum, err := rows.Sum(&places[i])
		if err != nil {
			return nil, err
		}
		e.Want = append(e.Want, Place{Shard: places[i].Shard, Sum: sum})
	}
	return e, nil
}

// keyDecoder returns the decoder of the topic's keys: a topic has one key schema (rule R1).
func (t *tableRun) keyDecoder(ctx context.Context, id int) (*avro.KeyDecoder, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := t.decoders[id]; d != nil {
		return d, nil
	}
	text, err := t.run.Registry.Schema(ctx, id)
	if err != nil {
		return nil, err
	}
	d, err := avro.NewKeyDecoder(text)
	if err == nil {
		t.decoders[id] = d
	}
	return d, err
}
