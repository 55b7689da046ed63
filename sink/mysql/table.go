package mysql

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/mutant"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/shape"
)

// table is how rows of one schema of one source table are placed and written. It is immutable.
type table struct {
	source    change.TableName
	schema    *change.Table
	names     []change.TableName // of the target tables, by shard
	shards    []*shardTable      // by shard
	placement placement
	versioned bool
	secondary bool  // some shard's table has unique keys besides the primary
	order     order // of the sources that keys move between; nil: none do

	sourceColumn string // the name of the guarded column, as errors tell it
}

// placement says in which shard a row belongs.
type placement struct {
	by    *shape.Expression // nil where the rule looks at no key
	text  string            // by, as it is configured
	rule  route.Rule
	keyed bool // the primary key alone decides: no row ever moves
	count int  // of shards
	of    *change.Table
	place *Router // in place of by and rule's Shard; nil: none
	names []string

	columns []string // of the table, for Shape
}

func newPlacement(config Config, t *change.Table) (placement, error) {
	names := config.shardNames()
	if r := config.Router; r != nil {
		return placement{rule: routed{r.Name}, count: len(names), of: t, place: r, names: names}, nil
	}
	spec, err := route.Find(config.Routes, t.TableName, names)
	if err != nil {
		return placement{}, routeProblem(t, err, "add a route for the table, or leave its topic out")
	}
	p := placement{text: spec.By, keyed: true, count: len(names), of: t}
	if p.rule, err = spec.Rule.Build(names); err != nil {
		return placement{}, routeProblem(t, err, "mend the table's route")
	}
	if !spec.Rule.NeedsKey() {
		return p, nil
	}
	if p.by, err = shape.Compile(spec.By, t); err != nil {
		return placement{}, routeProblem(t, err, "mend `by` of the table's route")
	}
	for _, c := range p.by.Columns() {
		p.keyed = p.keyed && t.IsKey(c)
	}
	return p, nil
}

func routeProblem(t *change.Table, err error, mend string) error {
	return &change.Problem{Kind: change.Configuration, Table: t.TableName, Where: t.String(),
		What: "rows of " + t.String() + " cannot be routed", Err: err, Mend: mend}
}

// fingerprint names how rows are spread, for _sluice_table.
func (p *placement) fingerprint(config Config) string {
	text := p.text
	if p.of != nil && p.of.Shape != "" {
		text += "\x00shape " + p.of.Shape
	}
	if p.of != nil && config.beside(p.of.TableName) {
		text += "\x00side table" // versions that stand elsewhere are as none
		if o, err := config.orderOf(p.of.TableName); err == nil && o != nil {
			text += "\x00moves " + o.String() // other moves would have left other rows and lines
		}
	}
	return route.Fingerprint(text, p.rule, config.shardNames())
}

// shard returns where a row belongs: a shard's index or route.All.
func (p *placement) shard(row []change.Value) (int, error) {
	if p.place != nil {
		return p.routed(row)
	}
	if p.by == nil {
		return p.rule.Shard(change.Value{})
	}
	v, err := p.by.Eval(row)
	if err != nil {
		return 0, err
	}
	return p.rule.Shard(v)
}

// routed asks the Router.
func (p *placement) routed(row []change.Value) (int, error) {
	name, err := p.place.Place(p.of, row)
	if err != nil {
		return 0, err
	}
	if name == EveryShard {
		return route.All, nil
	}
	at := slices.Index(p.names, name)
	if at < 0 {
		return 0, fmt.Errorf("the router says shard %q: want one of %s, or %q", name, strings.Join(p.names, ", "), EveryShard)
	}
	return at, nil
}

// spread reports whether the rows' values decide where they are.
func (p *placement) spread() bool { return p.by != nil || p.place != nil }

// routed is the rule of a Router: it has a name for fingerprints and errors; the Router is asked with the whole row.
type routed struct{ name string }

func (r routed) Shard(change.Value) (int, error) {
	return 0, fmt.Errorf("the router %s is asked with a whole row", r.name)
}

func (r routed) String() string { return "router " + r.name }

// shardTable is the table in one shard, with the parts of its statements that no row changes.
type shardTable struct {
	shard   *shard
	name    change.TableName
	quoted  string
	written []int           // the source's columns that are written, in the order of the INSERT
	columns []change.Column // the target's columns for them
	all     []change.Column // the target's column for each of the source's
	key     []change.Column // the target's columns of the key, in the source's key order

	keyNames []string   // quoted
	byKey    string     // the hint that has a DELETE find its rows by the key's index: see forceIndex
	uniques  []unique   // besides the primary
	head     []byte     // INSERT INTO ... VALUES
	tail     []byte     // AS ... ON DUPLICATE KEY UPDATE ...
	version  string     // of a row, as an expression: its column, or what its line in the side table has; empty in overwrite mode
	origin   string     // the same of its source
	side     *sideTable // nil where the versions stand in the table's own columns

	// alone is held shared by each transaction on the table, and exclusively by one that is repeated because it met
	// another.
	alone *sync.RWMutex
}

// unique is a unique key of the target besides its primary key.
type unique struct {
	name  string
	parts []uniquePart
}

// uniquePart is a whole column, a column's first characters, or an expression.
type uniquePart struct {
	column     change.Column // the target's; no name where the part is an expression
	source     int           // the source's column, -1 where it has none
	prefix     int           // characters (bytes for binary types), 0 for the whole column
	expression string        // as SQL over the table's columns
}

func (u *unique) plain() bool {
	return !slices.ContainsFunc(u.parts, func(p uniquePart) bool { return p.prefix > 0 || p.expression != "" || p.source < 0 })
}

// newShardTable matches the source's columns with the target's. The target has been checked: see inspect.
func newShardTable(config Config, s *shard, f *server.Facts, source, target *change.Table, extras *server.TableExtras) (*shardTable, error) {
	st := &shardTable{shard: s, name: target.TableName, quoted: server.QuoteTable(target.TableName)}
	for i := range source.Columns {
		j := target.Column(source.Columns[i].Name)
		if j < 0 {
			return nil, fmt.Errorf("column %s is missing", source.Columns[i].Name)
		}
		st.all = append(st.all, target.Columns[j])
		if extras.Generated[j] {
			continue // the server computes it
		}
		st.written = append(st.written, i)
		st.columns = append(st.columns, target.Columns[j])
	}
	for _, i := range source.Key {
		key := target.Columns[target.Column(source.Columns[i].Name)]
		st.key, st.keyNames = append(st.key, key), append(st.keyNames, server.QuoteName(key.Name))
	}
	for _, u := range extras.Uniques {
		same := samePrimary(&u, target, st.key)
		if same && st.byKey == "" {
			st.byKey = forceIndex(u.Name)
		}
		if u.Name == "PRIMARY" || same {
			continue
		}
		st.uniques = append(st.uniques, newUnique(&u, source, target))
	}
	if config.ownColumns(source.TableName) {
		st.version, st.origin = server.QuoteName(config.VersionColumn), server.QuoteName(config.SourceColumn)
	} else if config.Mode == ModeVersioned {
		st.useSide(config, f, source.TableName)
	}
	st.buildHead()
	switch {
	case st.version == "" || mutant.Replace:
	case st.side != nil:
		st.buildOverwrite(rowAlias(f))
	default:
		st.buildTail(rowAlias(f))
	}
	return st, nil
}

// samePrimary reports whether the key is the row's own key once more, which nobody else can hold.
func samePrimary(u *server.Unique, target *change.Table, key []change.Column) bool {
	if !u.Identifies() || len(u.Columns) != len(key) {
		return false
	}
	for _, c := range u.Columns {
		if !slices.ContainsFunc(key, func(k change.Column) bool { return k.Name == target.Columns[c].Name }) {
			return false
		}
	}
	return true
}

// forceIndex returns the hint to find rows by an index. A table with fewer rows than a DELETE names keys is else read from end to end, which waits
// for each row that another transaction has locked.
func forceIndex(name string) string { return " FORCE INDEX (" + server.QuoteName(name) + ")" }

func newUnique(u *server.Unique, source, target *change.Table) unique {
	out := unique{name: u.Name}
	for i, c := range u.Columns {
		part := uniquePart{source: -1, prefix: u.Lengths[i], expression: u.Exprs[i]}
		if c >= 0 {
			part.column = target.Columns[c]
			part.source = source.Column(part.column.Name)
		}
		out.parts = append(out.parts, part)
	}
	return out
}

// ownColumns reports whether the versions stand in the table's own columns.
func (st *shardTable) ownColumns() bool { return st.version != "" && st.side == nil }

// buildHead writes the statement up to the rows.
func (st *shardTable) buildHead() {
	verb := "INSERT INTO "
	if st.version == "" || mutant.Replace {
		verb = "REPLACE INTO "
	}
	var names []string
	for i := range st.columns {
		names = append(names, server.QuoteName(st.columns[i].Name))
	}
	if st.ownColumns() {
		names = append(names, st.origin, st.version)
	}
	st.head = []byte(verb + st.quoted + " (" + strings.Join(names, ",") + ") VALUES ")
}

// newRowAlias is what the row to be written is called in the statement; a table of that name takes the other.
const newRowAlias, otherRowAlias = "_n", "_n_"

// newRow is how ON DUPLICATE KEY UPDATE names the values of the row to be written.
type newRow struct{ as, alias string }

func aliasOf(known bool, table string) newRow {
	switch {
	case !known:
		return newRow{}
	case table == newRowAlias:
		return newRow{" AS " + otherRowAlias, otherRowAlias}
	}
	return newRow{" AS " + newRowAlias, newRowAlias}
}

func (r newRow) of(name string) string {
	if r.alias == "" {
		return "VALUES(" + name + ")"
	}
	return r.alias + "." + name
}

// buildTail writes the guard (R5): for each row of the statement that meets an existing one,
//
//   - the source column first: it stays what it is, or the new row's, if the existing row has the same key and
//     source, and becomes NULL, an error, if it has not. Then the row holds a unique value that the
//     new row wants, or is another source's. The guard is on this column of our own, not on the key as
//     one would think: MySQL turns NULL for an AUTO_INCREMENT column into 0 here, and renames the holder;
//   - then each column, the key's too so that its new spelling lands ('a' to 'A'), if the new version is greater;
//   - the version last, because the assignments run in this order and see each other's results.
//
// So the statement succeeds if, and only if, all its rows obey the rule: whatever the collations are, however
// many unique keys there are, and with no look-up.
func (st *shardTable) buildTail(alias bool) {
	old, a := server.QuoteName(st.name.Name)+".", aliasOf(alias, st.name.Name)
	value := a.of
	var b strings.Builder
	b.WriteString(a.as)
	newer := func(name string) string {
		return "IF(" + old + st.version + "<" + value(st.version) + "," + value(name) + "," + old + name + ")"
	}
	b.WriteString(" ON DUPLICATE KEY UPDATE " + st.origin + "=IF(")
	for i := range st.key {
		if mutant.GuardWithoutKey {
			break
		}
		name := server.QuoteName(st.key[i].Name)
		b.WriteString(old + name + "=" + value(name) + " AND ")
	}
	b.WriteString(old + st.origin + " IN (0," + value(st.origin) + ")," + newer(st.origin) + ",NULL)")
	for i := range st.columns {
		name := server.QuoteName(st.columns[i].Name)
		b.WriteString("," + name + "=" + newer(name))
	}
	b.WriteString("," + st.version + "=GREATEST(" + old + st.version + "," + value(st.version) + ")")
	st.tail = []byte(b.String())
}
