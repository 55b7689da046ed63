package webhook

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// incremental is what the envelope's snapshot says of what a crawl over the top has found.
const incremental = "incremental"

// event is a change that a hook is told of.
type event struct {
	hook     string
	batch    *sink.Batch
	change   *sink.Change
	replayed bool
}

// id names the event for ever: the same change told to the same hook has the same one, whatever happens in between. The version is
// one for each event of a source, so that topic, key and version name a change.
func (e *event) id() string {
	h := sha256.New()
	var n [8]byte
	for _, part := range [][]byte{[]byte(e.hook), []byte(e.batch.Topic), e.change.Key} {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	binary.BigEndian.PutUint64(n[:], uint64(e.change.Version))
	h.Write(n[:])
	return "evt_" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}

// knownBefore returns the before image, and whether it is known. It is not at a row that a crawl has read, at a tombstone, and at
// a delete that a crawl has found, which has no more than the key. Whatever MySQL itself wrote into the binlog is known, also
// where Change.TrustedBefore is false: that speaks of where a target may hold the row, not of what the row was.
func knownBefore(c *sink.Change) (image []change.Value, known bool) {
	switch {
	case c.Op == change.Create:
		return nil, true
	case c.Op == change.Read || c.Tombstone || c.Origin.Snapshot == incremental || c.Before == nil:
		return nil, false
	}
	return c.Before, true
}

// committed is when the source's transaction was committed, in milliseconds; 0 where that is not known.
func committed(c *sink.Change) string {
	if c.Origin.CommitMillis <= 0 {
		return ""
	}
	return time.UnixMilli(c.Origin.CommitMillis).UTC().Format("2006-01-02T15:04:05.000Z")
}

func transaction(c *sink.Change) string {
	if c.Origin.Transaction != "" {
		return c.Origin.Transaction
	}
	return c.Origin.GTID
}

// envelope is the body where the page gives none. Its fields and their order are a format: they are added to, never changed.
func (e *event) envelope() ([]byte, error) {
	c, t := e.change, e.change.Table
	dst := make([]byte, 0, 512+c.Bytes)
	var err error
	field := func(name string, value any) {
		if err == nil {
			dst, err = appendJSON(append(append(append(dst, '"'), name...), '"', ':'), value)
			dst = append(dst, ',')
		}
	}
	row := func(name string, columns []int, image []change.Value) {
		if err == nil {
			dst, err = appendRow(append(append(append(dst, '"'), name...), '"', ':'), t, columns, image)
			dst = append(dst, ',')
		}
	}
	dst = append(dst, '{')
	field("id", e.id())
	field("hook", e.hook)
	field("op", c.Op.String())
	field("source", e.batch.Source)
	field("db", t.DB)
	field("table", t.Name)
	row("key", t.Key, c.KeyValues)
	before, _ := knownBefore(c)
	all := allColumns(t)
	row("before", all, before)
	row("after", all, c.After)
	field("version", int64(c.Version))
	field("commit_time", orNull(committed(c)))
	field("transaction", orNull(transaction(c)))
	field("snapshot", orNull(c.Origin.Snapshot))
	field("topic", e.batch.Topic)
	field("partition", e.batch.Partition.Partition)
	field("offset", c.Offset)
	if err != nil {
		return nil, err
	}
	dst[len(dst)-1] = '}'
	return dst, nil
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func allColumns(t *change.Table) []int {
	all := make([]int, len(t.Columns))
	for i := range all {
		all[i] = i
	}
	return all
}

// view is what templates see of an event.
type view struct {
	ID, Hook, Op, Source, DB, Table string
	Key, Before, After              map[string]any // by column; Before and After are nil where they are absent
	Version                         int64
	CommitTime, Transaction         string // empty where they are not known
	Snapshot, Topic                 string
	Partition                       int32
	Offset                          int64
	Replayed                        bool
}

func (e *event) view() (*view, error) {
	c, t := e.change, e.change.Table
	v := &view{ID: e.id(), Hook: e.hook, Op: c.Op.String(), Source: e.batch.Source, DB: t.DB, Table: t.Name, Key: make(map[string]any),
		Version: int64(c.Version), CommitTime: committed(c), Transaction: transaction(c), Snapshot: c.Origin.Snapshot,
		Topic: e.batch.Topic, Partition: e.batch.Partition.Partition, Offset: c.Offset, Replayed: e.replayed}
	for i, column := range t.Key {
		value, err := native(&t.Columns[column], c.KeyValues[i])
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", t.Columns[column].Name, err)
		}
		v.Key[t.Columns[column].Name] = value
	}
	before, _ := knownBefore(c)
	var err error
	if v.Before, err = nativeRow(t, before); err == nil {
		v.After, err = nativeRow(t, c.After)
	}
	return v, err
}
