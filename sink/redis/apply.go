package redis

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

//go:embed apply.lua
var applyText string

var applyScript = newScript(applyText)

func newScript(text string) script {
	sum := sha1.Sum([]byte(text)) // the protocol's choice
	return script{text, hex.EncodeToString(sum[:])}
}

// A script holds up everybody else at the server while it runs, so a batch is cut into several; a single row may be larger.
const (
	scriptRows  = 100
	scriptBytes = 1 << 20
)

// fixed writes a number that is not negative so that text is compared as the number is.
func fixed(n int64) string { return fmt.Sprintf("%019d", n) }

// op is one change as the script takes it.
type op struct {
	offset  int64
	key     string // of the row
	args    []string
	entries []entry // of the row in indexes
	bytes   int
}

// Apply writes the batch: the newest change of each key, guarded by its version, and where there is a stream every change.
func (t *Target) Apply(ctx context.Context, b *sink.Batch) error {
	slots, err := t.config.slotsOf(b.Partition)
	if err != nil {
		return err
	}
	bySlot := make([][]op, slots)
	var p *plan
	for _, i := range chosen(b.Changes, func(c *sink.Change) bool { return t.config.table(c.Table.TableName).Stream != nil }) {
		c := &b.Changes[i]
		if p == nil || p.table != c.Table {
			if p, err = t.planOf(b.Source, c.Table); err != nil {
				return err
			}
		}
		o, slot, err := t.op(b, p, c)
		if err != nil {
			return &sink.Refused{Offset: c.Offset, Err: &change.Problem{Kind: change.Poison, Table: c.Table.TableName,
				What: "a row cannot be kept in Redis", Why: "it would be missing, or bent", Err: err,
				Mend: "mend the value at the source or the table's entry under redis.tables, or set the record aside (on_error: dead_letter)"}}
		}
		bySlot[slot] = append(bySlot[slot], o)
	}
	client, err := t.connect(ctx)
	if err != nil {
		return err
	}
	var calls []call
	var origin []int // the slot of each call
	for slot, ops := range bySlot {
		for _, c := range t.calls(b, p, slot, ops) {
			calls, origin = append(calls, c), append(origin, slot)
		}
	}
	results, err := t.run(ctx, client, applyScript, calls)
	if err != nil {
		return err
	}
	for i, r := range results {
		if err := t.outcome(b, p, origin[i], r); err != nil {
			return err
		}
	}
	return nil
}

// chosen returns the indexes of the changes to send, in order: each key's change of the greatest version, or all. That is mostly
// the last one, but the log may bring what is stale.
func chosen(changes []sink.Change, all func(*sink.Change) bool) []int {
	newest, keys := make(map[string]int, len(changes)), sink.Keys(changes)
	var kept []int
	for i := range changes {
		c := &changes[i]
		if all(c) {
			kept = append(kept, i)
		} else if best, ok := newest[keys[i]]; !ok || c.Version >= changes[best].Version {
			newest[keys[i]] = i
		}
	}
	kept = slices.AppendSeq(kept, maps.Values(newest))
	slices.Sort(kept)
	return kept
}

// op writes a change as the script takes it.
func (t *Target) op(b *sink.Batch, p *plan, c *sink.Change) (o op, slot int, err error) {
	behind, err := p.rowKey(c.KeyNames, c.KeyValues)
	if err != nil {
		return o, 0, err
	}
	slot = p.slotOf(behind)
	o = op{offset: c.Offset, key: t.config.base(b.Source, c.Table.TableName, slot) + ":" + behind}
	o.args = append(o.args, fixed(c.Offset), fixed(int64(c.Version)))
	// A string has no NULL: such a row has no key.
	if c.Op == change.Delete || p.value >= 0 && c.After[p.value].IsNull() {
		o.args = append(o.args, "d")
	} else {
		o.args = append(o.args, "p")
		if err := o.appendRow(p, c.After); err != nil {
			return o, 0, err
		}
		if err := o.appendIndexes(p, c.After); err != nil {
			return o, 0, err
		}
	}
	if p.config.Stream != nil {
		if err := o.appendEntry(p, c); err != nil {
			return o, 0, err
		}
	}
	for _, a := range o.args {
		o.bytes += len(a)
	}
	return o, slot, nil
}

func (o *op) appendRow(p *plan, row []change.Value) error {
	switch p.config.as() {
	case JSON:
		text, err := appendRow(nil, p.table, row)
		o.args = append(o.args, rueidis.BinaryString(text))
		return err
	case String:
		o.args = append(o.args, rueidis.BinaryString(appendText(nil, &p.table.Columns[p.value], row[p.value])))
		return nil
	}
	at := len(o.args)
	o.args = append(o.args, "")
	for i := range p.table.Columns {
		if !row[i].IsNull() {
			o.args = append(o.args, p.table.Columns[i].Name, rueidis.BinaryString(appendText(nil, &p.table.Columns[i], row[i])))
		}
	}
	o.args[at] = strconv.Itoa(len(o.args) - at - 1)
	return nil
}

func (o *op) appendIndexes(p *plan, row []change.Value) error {
	at, count := len(o.args), 0
	o.args = append(o.args, "")
	for i := range p.indexes {
		e, ok, err := p.indexes[i].entry(p.table, row)
		if err != nil {
			return fmt.Errorf("index %s: %w", p.indexes[i].Name, err)
		}
		if ok {
			count++
			o.entries = append(o.entries, e)
			o.args = append(append(o.args, e.field, e.suffix, strconv.Itoa(len(e.scores))), e.scores...)
		}
	}
	o.args[at] = strconv.Itoa(count)
	return nil
}

// appendEntry writes what a stream's entry has beside op, key and version, which the script knows: when the change was committed,
// and the row, unless it is gone.
func (o *op) appendEntry(p *plan, c *sink.Change) error {
	fields := []string{"commit_ms", strconv.FormatInt(c.Origin.CommitMillis, 10)}
	if c.Op != change.Delete {
		text, err := appendRow(nil, p.table, c.After)
		if err != nil {
			return fmt.Errorf("the stream's entry: %w", err)
		}
		fields = append(fields, "row", rueidis.BinaryString(text))
	}
	o.args = append(append(o.args, strconv.Itoa(len(fields))), fields...)
	return nil
}

// calls cuts what one slot has of the batch into calls of the script, each of which takes the progress a part of the way. There is
// always one: the progress moves in slots too that the batch has nothing for.
func (t *Target) calls(b *sink.Batch, p *plan, slot int, ops []op) []call {
	var calls []call
	for from := b.From; ; {
		n, bytes := 0, 0
		for n < len(ops) && n < scriptRows && (n == 0 || bytes+ops[n].bytes <= scriptBytes) {
			bytes += ops[n].bytes
			n++
		}
		to, through, first := b.Next, strconv.FormatInt(b.ThroughMillis, 10), "0"
		if n < len(ops) { // T stays until the whole is applied
			to, through = ops[n-1].offset+1, ""
		}
		if from == b.From {
			first = "1"
		}
		c := call{keys: []string{t.config.progressKey(b.Group, b.Partition, slot)}, args: []string{fixed(b.Epoch), fixed(from), fixed(to), through, first}}
		c.args = append(c.args, t.tableArguments(b, p, slot)...)
		c.args = append(c.args, strconv.Itoa(n), "0")
		for _, o := range ops[:n] {
			c.keys = append(c.keys, o.key)
		}
		if t.config.Cluster {
			c.args[len(c.args)-1] = "1"
			c.keys = append(c.keys, t.otherKeys(b, p, slot, ops[:n])...)
		}
		for _, o := range ops[:n] {
			c.args = append(c.args, o.args...)
		}
		calls = append(calls, c)
		if ops, from = ops[n:], to; len(ops) == 0 {
			return calls
		}
	}
}

// otherKeys are those that the script writes besides the progress and the rows, as far as they are known before: each once.
func (t *Target) otherKeys(b *sink.Batch, p *plan, slot int, ops []op) []string {
	if p == nil {
		return nil
	}
	base := t.config.base(b.Source, p.table.TableName, slot)
	var keys []string
	for _, o := range ops {
		keys = append(keys, rowMeta+o.key)
		for _, e := range o.entries {
			keys = append(keys, base+"#"+e.field[len("s:"):]+e.suffix)
		}
	}
	if s := p.config.Stream; s != nil {
		keys = append(keys, base+"#"+s.name())
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// rowMeta stands before a row's key in that of its version, and of where the indexes have it.
const rowMeta = reserved + "row:"

// tableArguments are those of the script's arguments that are the same for all changes of a table.
func (t *Target) tableArguments(b *sink.Batch, p *plan, slot int) []string {
	if p == nil { // a batch without changes
		return []string{"", "", "", Hash, "", ""}
	}
	form, stream, length := Hash, "", ""
	if p.config.as() != Hash {
		form = String
	}
	if s := p.config.Stream; s != nil {
		stream, length = s.name(), strconv.FormatInt(s.MaxLength, 10)
	}
	return []string{ownerText(b.Source, p.table.TableName), t.config.base(b.Source, p.table.TableName, slot),
		strconv.FormatInt(t.config.KeepTombstones.Milliseconds(), 10), form, stream, length}
}

// ownerText says whose a row is.
func ownerText(source string, t change.TableName) string { return source + "/" + t.String() }

// outcome reads what the script answers.
func (t *Target) outcome(b *sink.Batch, p *plan, slot int, r rueidis.RedisResult) error {
	list, err := r.ToArray()
	if err != nil {
		return t.judge("a batch could not be applied", err)
	}
	said := make([]string, len(list))
	for i, m := range list {
		if n, err := m.AsInt64(); err == nil {
			said[i] = strconv.FormatInt(n, 10)
		} else if said[i], err = m.ToString(); err != nil {
			return t.judge("a script's answer", err)
		}
	}
	switch {
	case len(said) == 3 && said[0] == "ok", len(said) == 1 && said[0] == "done":
		return nil
	case len(said) == 3 && said[0] == "lost":
		return &sink.OwnershipLost{Partition: b.Partition, Shard: shardName(t.config.slotsText(b.Partition), slot), Epoch: b.Epoch,
			Err: fmt.Errorf("the server holds epoch %q and next offset %q; the batch begins at %d", said[1], said[2], b.From)}
	case len(said) == 2 && said[0] == "moving":
		return &change.Problem{Kind: change.Retry, Table: p.table.TableName, Where: t.where(), What: "rows are in the index " + said[1] + ", which is not there",
			Why:  "its slot moves to another node, or somebody has removed the index",
			Mend: "it is tried again; where somebody has removed it, begin anew: sluice replay --to beginning --empty"}
	case len(said) == 4 && said[0] == "refused":
		return refused(p, said)
	}
	return &change.Problem{Kind: change.Fatal, What: fmt.Sprintf("the script answered %q", said), Where: t.where()}
}

// refused says why the script did nothing.
func refused(p *plan, said []string) error {
	offset, err := strconv.ParseInt(said[1], 10, 64)
	if err != nil {
		return err
	}
	problem := &change.Problem{Kind: change.Poison, Table: p.table.TableName, Where: p.table.String()}
	switch said[2] {
	case "owner":
		problem.What = "a row's key belongs to " + said[3]
		problem.Why = "rows of two tables would overwrite each other; versions of two sources cannot be compared"
		problem.Mend = "set a redis.name that tells them apart ({source}, {db} and {table} stand for the parts), or another redis.database"
	case "foreign":
		problem.What = "the key " + said[3] + " is there and was not written by Sluice"
		problem.Why = "somebody else's data would be overwritten"
		problem.Mend = "UNLINK the key, or set another redis.name; the topic goes on by itself then"
	default:
		problem.What = "the key " + said[3] + " is there and is of another type than the index or stream of that name"
		problem.Why = "the rows could not be found by it"
		problem.Mend = "UNLINK the key, or give the index or stream another name; the topic goes on by itself then"
	}
	return &sink.Refused{Offset: offset, Err: problem}
}
