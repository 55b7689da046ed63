package shaped

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/shape"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/memory"
)

// The model: tables of a database that does random things, shapes that are drawn at random, each with a function in Go that says the
// same in another way, and a target that gets the log with all that can happen to it: batches of any size, partitions in any order, batches
// again, late owners, crashes, shards that fail in the middle, and compaction. At the end each table of the target is what the
// functions make of the database's rows, wherever rows have moved to on the way.

// modelTable is id, a (a small number), b (one that may be NULL), code (a text that may be NULL).
func modelTable(name string) *change.Table {
	return &change.Table{TableName: change.TableName{DB: "shop", Name: name}, Key: []int{0}, Columns: []change.Column{
		{Name: "id", Type: change.BigInt}, {Name: "a", Type: change.Int}, {Name: "b", Type: change.Int, Nullable: true},
		{Name: "code", Type: change.VarChar, Length: 20, Nullable: true, Charset: "utf8mb4", Collation: "utf8mb4_bin"},
	}}
}

type modelRow struct {
	id, a int64
	b     *int64
	code  string // empty: NULL
}

func (r modelRow) values() []change.Value {
	v := []change.Value{change.IntValue(r.id), change.IntValue(r.a), {}, {}}
	if r.b != nil {
		v[2] = change.IntValue(*r.b)
	}
	if r.code != "" {
		v[3] = change.StringValue(r.code)
	}
	return v
}

// rowCondition is a condition in both languages.
type rowCondition struct {
	text  string
	holds func(modelRow) bool
}

var conditions = []rowCondition{
	{"a > 1", func(r modelRow) bool { return r.a > 1 }},
	{"b != nil", func(r modelRow) bool { return r.b != nil }},
	{"b < 2", func(r modelRow) bool { return r.b != nil && *r.b < 2 }},
	{"code == 'x' || a == 0", func(r modelRow) bool { return r.code == "x" || r.a == 0 }},
	{"id % 2 == 0", func(r modelRow) bool { return r.id%2 == 0 }},
}

// rowColumn is what may become of a column, or be added, in both languages: the name and text at the target.
type rowColumn struct {
	add  func(*shape.Spec)
	name string
	of   func(modelRow) string
}

const null = "NULL"

func orNull(b *int64) string {
	if b == nil {
		return null
	}
	return strconv.FormatInt(*b, 10)
}

// columnChoices are the forms that each column may have; of each, one is drawn.
var columnChoices = [][]rowColumn{
	{
		{func(*shape.Spec) {}, "a", func(r modelRow) string { return strconv.FormatInt(r.a, 10) }},
		{func(s *shape.Spec) { s.Columns["a"] = shape.Column{Rename: "amount", Cast: "decimal(6,2)"} }, "amount", func(r modelRow) string { return fmt.Sprintf("%d.00", r.a) }},
		{func(s *shape.Spec) { s.Columns["a"] = shape.Column{Drop: true} }, "", nil},
	}, {
		{func(*shape.Spec) {}, "b", func(r modelRow) string { return orNull(r.b) }},
		{func(s *shape.Spec) { s.Columns["b"] = shape.Column{Cast: "varchar(10)"} }, "b", func(r modelRow) string { return orNull(r.b) }},
	}, {
		{func(s *shape.Spec) { s.Columns["code"] = shape.Column{Mask: &shape.Mask{Text: "hidden"}} }, "code", func(r modelRow) string {
			if r.code == "" {
				return null
			}
			return "hidden"
		}},
		{func(s *shape.Spec) { s.Columns["code"] = shape.Column{Rename: "label"} }, "label", func(r modelRow) string {
			if r.code == "" {
				return null
			}
			return r.code
		}},
	}, {
		{func(s *shape.Spec) { s.Add["twice"] = shape.Added{Expr: "a * 2 + (b ?? 0)", Type: "bigint"} }, "twice", func(r modelRow) string {
			n := 2 * r.a
			if r.b != nil {
				n += *r.b
			}
			return strconv.FormatInt(n, 10)
		}},
		{func(*shape.Spec) {}, "", nil},
	},
}

// modelShape is the shape of one table, and what it means.
type modelShape struct {
	spec    shape.Spec
	where   []rowCondition // of the whole, if any
	outputs map[string][]rowCondition
	columns []rowColumn
	origin  string // the constant in the key, if any
}

// drawShape draws a shape for a table. In together, tables become one.
func drawShape(r *rand.Rand, table string, together bool) modelShape {
	m := modelShape{outputs: make(map[string][]rowCondition),
		spec: shape.Spec{Table: "shop." + table, Columns: make(map[string]shape.Column), Add: make(map[string]shape.Added)}}
	if r.IntN(2) == 0 {
		c := conditions[r.IntN(len(conditions))]
		m.spec.Where, m.where = c.text, []rowCondition{c}
	}
	switch {
	case together:
		m.spec.To.Name, m.origin = "together", table
		m.outputs["together"] = nil
		m.spec.Add["origin"] = shape.Added{From: "table"}
		m.spec.Key = []string{"origin", "id"}
		if r.IntN(2) == 0 {
			m.spec.Key = []string{"id", "origin"}
		}
	case r.IntN(3) == 0:
		m.outputs[table] = nil
	case r.IntN(2) == 0:
		m.spec.To.Name = table + "_renamed"
		m.outputs[m.spec.To.Name] = nil
	default:
		m.spec.To.Tables = make(map[string]string)
		for i := range 2 + r.IntN(2) {
			c := conditions[r.IntN(len(conditions))]
			name := fmt.Sprintf("%s_%d", table, i)
			m.spec.To.Tables[name], m.outputs[name] = c.text, []rowCondition{c}
		}
	}
	for _, choices := range columnChoices {
		c := choices[r.IntN(len(choices))]
		if together { // one table has one form
			c = choices[0]
		}
		c.add(&m.spec)
		if c.name != "" {
			m.columns = append(m.columns, c)
		}
	}
	return m
}

func holdsAll(conditions []rowCondition, r modelRow) bool {
	return !slices.ContainsFunc(conditions, func(c rowCondition) bool { return !c.holds(r) })
}

// want returns the rows that each table should have, as texts.
func (m *modelShape) want(rows map[int64]modelRow, into map[string][]string) {
	for _, row := range rows {
		for name, conditions := range m.outputs {
			if !holdsAll(m.where, row) || !holdsAll(conditions, row) {
				continue
			}
			parts := []string{fmt.Sprintf("id=%d", row.id)}
			if m.origin != "" {
				parts = append(parts, "origin="+m.origin)
			}
			for _, c := range m.columns {
				parts = append(parts, c.name+"="+c.of(row))
			}
			slices.Sort(parts)
			into[name] = append(into[name], strings.Join(parts, " "))
		}
	}
}

// modelDB is the database and its log: for each table some partitions.
type modelDB struct {
	r     *rand.Rand
	table *change.Table
	rows  map[int64]modelRow
	logs  [][]sink.Change
	clock *change.Version

	// doubts are rows that were changed without an event (a partition was dropped, a cascade) and not read anew since: what their events say
	// of before was never true of the target.
	doubts map[int64]bool
}

func (d *modelDB) step() {
	row := modelRow{id: int64(d.r.IntN(10)), a: int64(d.r.IntN(4)), code: []string{"", "x", "y"}[d.r.IntN(3)]}
	if b := int64(d.r.IntN(4)); b < 3 {
		row.b = &b
	}
	old, there := d.rows[row.id]
	c := sink.Change{Op: change.Create, After: row.values(), TrustedBefore: true}
	switch n := d.r.IntN(10); {
	case n < 6 && there:
		c.Op, c.Before = change.Update, old.values()
	case n < 6:
	case n == 6:
		d.crawl(row.id)
		return
	case n == 7: // without an event
		d.doubts[row.id] = true
		if delete(d.rows, row.id); d.r.IntN(4) > 0 {
			d.rows[row.id] = row
		}
		return
	case there:
		c.Op, c.Before, c.After = change.Delete, old.values(), nil
		d.append(c, row.id)
		c.Before, c.Tombstone, c.TrustedBefore = nil, true, false
		d.append(c, row.id)
		delete(d.rows, row.id)
		return
	default:
		return
	}
	d.append(c, row.id)
	d.rows[row.id] = row
}

// crawl is what a crawl over the top says of a key: the row, or that it is gone.
func (d *modelDB) crawl(id int64) {
	c := sink.Change{Op: change.Delete, Before: []change.Value{change.IntValue(id), {}, {}, {}}, Origin: sink.Origin{Snapshot: overTheTop}}
	row, there := d.rows[id]
	if there {
		c.Op, c.Before, c.After = change.Read, nil, row.values()
	}
	d.append(c, id)
	if !there && d.r.IntN(2) == 0 {
		c.Before, c.Tombstone, c.Origin.Snapshot = nil, true, ""
		d.append(c, id)
	}
	delete(d.doubts, id)
}

func (d *modelDB) append(c sink.Change, id int64) {
	c.TrustedBefore = c.TrustedBefore && !d.doubts[id]
	*d.clock += 1 + change.Version(d.r.IntN(3))
	p := int(id) % len(d.logs)
	c.Table, c.Version, c.Bytes = d.table, *d.clock, 50
	c.KeyNames, c.KeyValues, c.Key = []string{"id"}, []change.Value{change.IntValue(id)}, []byte(strconv.FormatInt(id, 10))
	c.Offset = int64(2 * len(d.logs[p])) // every second offset is a transaction's marker
	d.logs[p] = append(d.logs[p], c)
}

// compact removes what has a newer record before some offset, as the broker does: what is left there has lost its predecessors.
func (d *modelDB) compact() {
	for p, log := range d.logs {
		clean := d.r.IntN(len(log) + 1)
		newest := make(map[string]int64)
		for _, c := range log[:clean] {
			newest[string(c.Key)] = c.Offset
		}
		var kept []sink.Change
		for i, c := range log {
			if i < clean {
				if newest[string(c.Key)] != c.Offset {
					continue
				}
				c.TrustedBefore = false
			}
			kept = append(kept, c)
		}
		d.logs[p] = kept
	}
}

// delivery delivers the logs of all tables to a target.
type delivery struct {
	t      *testing.T
	r      *rand.Rand
	open   func() sink.Target
	target sink.Target
	at     map[sink.Partition]int64
	epochs map[sink.Partition]int64
	logs   map[sink.Partition][]sink.Change
	ends   map[sink.Partition]int64
}

const modelGroup = "model"

func (d *delivery) takeOver() {
	d.target = d.open()
	progress, keeps := sink.Ability[sink.Progress](d.target)
	for p := range d.logs {
		if !keeps {
			continue
		}
		next, epoch, found, err := progress.Assign(context.Background(), modelGroup, p)
		if err != nil {
			d.t.Fatal(err)
		}
		if epoch <= d.epochs[p] {
			d.t.Fatalf("%s: epoch %d after %d", p, epoch, d.epochs[p])
		}
		if next > d.at[p] {
			d.t.Fatalf("%s: the target says %d, %d was delivered", p, next, d.at[p])
		}
		if d.epochs[p], d.at[p] = epoch, next; !found {
			d.at[p] = 0
		}
	}
}

func (d *delivery) batch(p sink.Partition) *sink.Batch {
	next := min(d.ends[p], d.at[p]+1+d.r.Int64N(20))
	b := &sink.Batch{Group: modelGroup, Partition: p, From: d.at[p], Next: next, Epoch: d.epochs[p], ThroughMillis: next}
	for _, c := range d.logs[p] {
		if c.Offset >= b.From && c.Offset < next {
			b.Changes = append(b.Changes, c)
		}
	}
	return b
}

var errFault = &change.Problem{Kind: change.Retry, What: "the shard has failed"}

func (d *delivery) must(b *sink.Batch) {
	for {
		err := d.target.Apply(context.Background(), b)
		if err == nil {
			return
		}
		if !errors.Is(err, errFault) {
			d.t.Fatalf("apply %s %d..%d: %s", b.Partition, b.From, b.Next, change.Explain(err))
		}
	}
}

// run delivers until all is delivered, or for so many steps.
func (d *delivery) run(steps int) {
	d.takeOver()
	_, keeps := sink.Ability[sink.Progress](d.target)
	for range steps {
		var open []sink.Partition
		for p := range d.logs {
			if d.at[p] < d.ends[p] {
				open = append(open, p)
			}
		}
		if len(open) == 0 {
			return
		}
		slices.SortFunc(open, func(a, b sink.Partition) int {
			return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
		})
		p := open[d.r.IntN(len(open))]
		b := d.batch(p)
		switch n := d.r.IntN(12); {
		case n == 0: // it dies, maybe in the middle
			if d.target.Apply(context.Background(), b) == nil {
				d.at[p] = b.Next
			} else {
				d.at[p] = b.Next // the target may have all of it; it says itself how far it is
			}
			if !keeps {
				d.at[p] = b.From
			}
			d.takeOver()
		case n == 1 && keeps: // somebody takes over, and the old owner comes late
			old := d.target
			d.takeOver()
			var lost *sink.OwnershipLost
			if err := old.Apply(context.Background(), b); !errors.As(err, &lost) || lost.Partition != p || lost.Epoch != b.Epoch {
				d.t.Fatalf("the old owner: %v", err)
			}
		case n < 4 && !keeps: // records come again
			d.must(b)
			d.at[p] = d.r.Int64N(b.Next + 1)
		default:
			d.must(b)
			d.at[p] = b.Next
		}
	}
}

func TestModel(t *testing.T) {
	first, count := rand.Uint64(), 120
	if text := os.Getenv("SLUICE_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first = n
	}
	if text := os.Getenv("SLUICE_HISTORIES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		count = n
	}
	for i := range count {
		s := first + uint64(i)
		if !t.Run(fmt.Sprintf("SLUICE_SEED=%d", s), func(t *testing.T) { oneModel(t, rand.New(rand.NewPCG(s, 0))) }) {
			t.Logf("again with SLUICE_SEED=%d SLUICE_HISTORIES=1", s)
			return
		}
	}
}

func oneModel(t *testing.T, r *rand.Rand) {
	together := r.IntN(3) == 0
	clock := change.Version(1000)
	var specs []shape.Spec
	var shapes []modelShape
	var dbs []*modelDB
	for _, name := range []string{"one", "two"} {
		m := drawShape(r, name, together)
		specs, shapes = append(specs, m.spec), append(shapes, m)
		dbs = append(dbs, &modelDB{r: r, table: modelTable(name), rows: make(map[int64]modelRow), doubts: make(map[int64]bool), logs: make([][]sink.Change, 1+r.IntN(3)), clock: &clock})
	}
	for i := range specs {
		specs[i].Check(func(path, problem string) { t.Errorf("%s: %s", path, problem) })
	}
	shape.CheckTogether(specs, func(path, problem string) { t.Errorf("%s: %s", path, problem) })
	for range 20 + r.IntN(150) {
		dbs[r.IntN(len(dbs))].step()
	}
	for _, db := range dbs { // a crawl comes to its end some time
		for id := range int64(10) {
			if db.doubts[id] {
				db.crawl(id)
			}
		}
	}
	d := &delivery{t: t, r: r, at: make(map[sink.Partition]int64), epochs: make(map[sink.Partition]int64), logs: make(map[sink.Partition][]sink.Change), ends: make(map[sink.Partition]int64)}
	offer := func(ends bool) {
		for i, db := range dbs {
			for n := range db.logs {
				p := sink.Partition{Source: "src", Topic: "src." + db.table.String(), TopicID: [16]byte{byte(i + 1)}, Count: int32(len(db.logs)), Partition: int32(n)}
				if d.logs[p] = db.logs[n]; ends {
					d.ends[p] = int64(2 * len(db.logs[n]))
				}
			}
		}
	}
	offer(true)
	store := memory.NewStore(memory.Config{Shards: []string{"s0", "s1", "s2"}, Route: modelRoute, Fault: func(string) error {
		if r.IntN(12) == 0 {
			return errFault
		}
		return nil
	}})
	plain := r.IntN(2) == 0
	d.open = func() sink.Target {
		if plain {
			return New(store.OpenPlain(), specs, nil)
		}
		return New(store.Open(), specs, nil)
	}
	if r.IntN(2) == 0 { // the log is compacted under a reader that has read a part of it
		d.run(r.IntN(40))
		for _, db := range dbs {
			db.compact()
		}
		offer(false)
	}
	d.run(math.MaxInt)
	compareModel(t, New(store.Open(), specs, nil), shapes, dbs)
}

// modelRoute spreads rows by the last column: mostly one that changes.
func modelRoute(t *change.Table, row []change.Value) (string, error) {
	h := fnv.New32a()
	h.Write(row[len(row)-1].Append(nil))
	if t.Column("twice") >= 0 {
		h.Write(row[t.Column("twice")].Append(nil))
	}
	return fmt.Sprintf("s%d", h.Sum32()%3), nil
}

// compareModel reads each table back, as verify would.
func compareModel(t *testing.T, target *Target, shapes []modelShape, dbs []*modelDB) {
	t.Helper()
	want, got := make(map[string][]string), make(map[string][]string)
	for i := range dbs {
		shapes[i].want(dbs[i].rows, want)
		views, err := target.Views(context.Background(), "src", dbs[i].table)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range views {
			err := target.Scan(context.Background(), sink.Scan{Source: "src", Table: v.Table}, func(row sink.Row) error {
				if shard, err := modelRoute(v.Table, row.Values); err != nil || shard != row.Shard {
					t.Errorf("a row of %s is in %s and should be in %s", v.Table, row.Shard, shard)
				}
				var parts []string
				for i, name := range row.Columns {
					parts = append(parts, name+"="+row.Values[i].String())
				}
				slices.Sort(parts)
				got[v.Table.Name] = append(got[v.Table.Name], strings.Join(parts, " "))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range slices.Sorted(mapKeys(want, got)) {
		slices.Sort(want[name])
		slices.Sort(got[name])
		if !slices.Equal(want[name], got[name]) {
			t.Errorf("table %s has\n  %s\nwant\n  %s\nby %+v", name, strings.Join(got[name], "\n  "), strings.Join(want[name], "\n  "), shapes)
		}
	}
}

func mapKeys(maps ...map[string][]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		seen := make(map[string]bool)
		for _, m := range maps {
			for name := range m {
				if !seen[name] {
					if seen[name] = true; !yield(name) {
						return
					}
				}
			}
		}
	}
}
