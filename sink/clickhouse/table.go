package clickhouse

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// owner says what a table holds. It stands as JSON in the comment of the table's column of versions.
type owner struct {
	Source   string   `json:"source"`
	Database string   `json:"database"`
	Table    string   `json:"table"`
	Key      []string `json:"key"`
	Mode     string   `json:"mode"`
}

func (c *Config) owner(source string, t *change.Table) owner {
	return owner{Source: source, Database: t.DB, Table: t.Name, Key: t.KeyNames(), Mode: c.Mode}
}

func (o owner) sameTable(p owner) bool {
	return o.Source == p.Source && o.Database == p.Database && o.Table == p.Table
}

func (o owner) String() string {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings are always written
	}
	return string(b)
}

// existing is a table as the server describes it.
type existing struct {
	name    string
	engine  string   // with its arguments and all that follows
	sorting []string // what ORDER BY names: columns, and expressions as they are
	columns map[string]existingColumn
	owner   *owner // nil: it does not say
}

type existingColumn struct {
	typeName  string
	partition bool // part of PARTITION BY
}

// look returns a table, nil where there is none.
func (b *base) look(ctx context.Context, name string) (*existing, error) {
	of := fmt.Sprintf(" WHERE database = %s AND ", quoteText(b.config.Database))
	tables, err := b.client.lines(ctx, "SELECT engine, engine_full, sorting_key FROM system.tables"+of+"name = "+quoteText(name))
	if err != nil || len(tables) == 0 {
		return nil, b.client.judge("the table "+name+" could not be looked at", err)
	}
	x := &existing{name: name, engine: tables[0][1], sorting: splitNames(tables[0][2]), columns: make(map[string]existingColumn)}
	if x.engine == "" {
		x.engine = tables[0][0]
	}
	columns, err := b.client.lines(ctx, "SELECT name, type, comment, is_in_partition_key FROM system.columns"+of+"table = "+quoteText(name))
	if err != nil {
		return nil, b.client.judge("the columns of "+name+" could not be looked at", err)
	}
	for _, f := range columns {
		x.columns[f[0]] = existingColumn{typeName: f[1], partition: f[3] == "1"}
		if f[0] != b.versionColumn() || f[2] == "" {
			continue
		}
		if err := json.Unmarshal([]byte(f[2]), &x.owner); err != nil {
			return nil, &change.Problem{Kind: change.Poison, What: fmt.Sprintf("the comment of %s.%s is not ours", name, f[0]), Where: b.where(), Err: err,
				Mend: fmt.Sprintf("ALTER TABLE %s COMMENT COLUMN %s ''", b.place(name), quoteName(f[0]))}
		}
	}
	return x, nil
}

// splitNames reads a list of names as the server writes it: those that need it in backquotes, and some servers put a single one in brackets.
func splitNames(list string) []string {
	if rest, ok := strings.CutPrefix(list, "("); ok {
		list = strings.TrimSuffix(rest, ")")
	}
	var names []string
	for list != "" {
		name, rest := list, ""
		if end := strings.Index(list, ", "); end >= 0 {
			name, rest = list[:end], list[end+2:]
		}
		if list[0] == '`' {
			end := 1
			for end < len(list) && list[end] != '`' {
				if list[end] == '\\' {
					end++
				}
				end++
			}
			name = nameUnescapes.Replace(list[1:min(end, len(list))])
			rest = strings.TrimPrefix(list[min(end+1, len(list)):], ", ")
		}
		names, list = append(names, name), rest
	}
	return names
}

var nameUnescapes = strings.NewReplacer(`\\`, `\`, "\\`", "`")

// versionColumn is the column whose comment says whose the table is.
func (b *base) versionColumn() string {
	if b.config.Mode == History {
		return "version"
	}
	return columnVersion
}

// place is the quoted name of a table.
func (b *base) place(name string) string {
	return quoteName(b.config.Database) + "." + quoteName(name)
}

// wanted is a table as it should be.
type wanted struct {
	name     string
	owner    owner
	columns  []wantedColumn // of the source, or of a history; and Sluice's own
	engine   string         // ReplacingMergeTree and its arguments
	replaces string         // what must be among the engine's arguments
	sorting  []string       // ORDER BY
	divided  string         // PARTITION BY, empty: not at all
	dividing []string       // the only columns that PARTITION BY may speak of; nil: any
	settings string
}

type wantedColumn struct {
	name     string
	typeName string
	more     string              // DEFAULT, MATERIALIZED ...
	lacks    func(string) string // what a column of this type that is there lacks
}

// create is the statement that makes the table.
func (b *base) create(w *wanted) string {
	columns := make([]string, len(w.columns))
	for i, c := range w.columns {
		columns[i] = "    " + quoteName(c.name) + " " + c.typeName + c.more
		if c.name == b.versionColumn() {
			columns[i] += " COMMENT " + quoteText(w.owner.String())
		}
	}
	s := fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (\n%s\n) ENGINE = %s", b.place(w.name), strings.Join(columns, ",\n"), w.engine)
	if w.divided != "" {
		s += " PARTITION BY " + w.divided
	}
	s += " ORDER BY (" + strings.Join(quoteNames(w.sorting), ", ") + ")"
	return s + w.settings
}

func quoteNames(names []string) []string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quoteName(n)
	}
	return quoted
}

// check refuses a table that holds something else, or could not hold the rows whatever columns it had.
func (x *existing) check(w *wanted, where string) error {
	p := &change.Problem{Kind: change.Poison, Where: where, Table: change.TableName{DB: w.owner.Database, Name: w.owner.Table}}
	if x.owner != nil {
		x.checkOwner(w, p)
	}
	for name, c := range x.columns {
		if c.partition && w.dividing != nil && !slices.Contains(w.dividing, name) {
			p.What = fmt.Sprintf("%s is partitioned by %s", x.name, name)
			p.Why = "the server never compares rows of two partitions when it merges: older states of a row would stay beside the newest"
			p.Mend = "make it anew, PARTITION BY nothing, or by columns of the key"
		}
	}
	sorting, wantSorting := slices.Sorted(slices.Values(x.sorting)), slices.Sorted(slices.Values(w.sorting))
	switch {
	case p.What != "":
	case !replacing(x.engine, w.replaces):
		p.What = fmt.Sprintf("%s has the engine %.60s", x.name, x.engine)
		p.Why = "no other engine keeps the newest of the rows of one key"
		p.Mend = "make it anew with the engine " + w.engine + " (Replicated... too), or let Sluice make it (clickhouse.create_tables: true)"
	case !slices.Equal(sorting, wantSorting):
		p.What = fmt.Sprintf("%s is ORDER BY (%s), not (%s)", x.name, strings.Join(x.sorting, ", "), strings.Join(w.sorting, ", "))
		p.Why = "rows are told apart by what the table is ordered by"
		p.Mend = "begin anew: sluice replay --to beginning --empty"
	}
	if p.What == "" {
		return nil
	}
	return p
}

func (x *existing) checkOwner(w *wanted, p *change.Problem) {
	have, want := *x.owner, w.owner
	switch {
	case !have.sameTable(want):
		p.What = fmt.Sprintf("%s holds %s.%s of source %s, not %s.%s of source %s", x.name, have.Database, have.Table, have.Source, want.Database, want.Table, want.Source)
		p.Why = "rows of two tables would overwrite each other; versions of two sources cannot be compared"
		p.Mend = "set a clickhouse.table that tells them apart ({source}, {db} and {table} stand for the parts)"
	case have.Mode != want.Mode:
		p.What = fmt.Sprintf("%s is of mode %s, clickhouse.mode is %s", x.name, have.Mode, want.Mode)
		p.Mend = "set another clickhouse.table"
	case want.Mode == State && !slices.Equal(have.Key, want.Key):
		p.What = fmt.Sprintf("the rows of %s have the key (%s), the table has (%s)", x.name, strings.Join(have.Key, ", "), strings.Join(want.Key, ", "))
		p.Why = "the rows of before would stay beside those of now"
		p.Mend = "begin anew: sluice replay --to beginning --empty"
	}
}

// replacing reports whether the engine replaces rows of one key, and by the version where one is named.
func replacing(engine, version string) bool {
	end := strings.IndexAny(engine, " (")
	if end < 0 {
		end = len(engine)
	}
	if !strings.HasSuffix(engine[:end], "ReplacingMergeTree") {
		return false
	}
	if version == "" {
		return true
	}
	rest, has := strings.CutPrefix(engine[end:], "(")
	arguments, _, _ := strings.Cut(rest, ")")
	for argument := range strings.SplitSeq(arguments, ",") {
		if has && strings.Trim(argument, " `") == version {
			return true
		}
	}
	return false
}

// steps returns the statements that bring a table to what it should be. Nothing is taken away. It fails where no statement does.
func (b *base) steps(x *existing, w *wanted) ([]string, error) {
	var steps []string
	alter := "ALTER TABLE " + b.place(x.name) + " "
	for _, c := range w.columns {
		have, ok := x.columns[c.name]
		if !ok {
			steps = append(steps, alter+"ADD COLUMN "+quoteName(c.name)+" "+c.typeName+c.more)
			continue
		}
		lacks := c.lacks(have.typeName)
		if lacks == "" {
			continue
		}
		from, known := parseType(have.typeName)
		to, _ := parseType(c.typeName)
		modify := alter + "MODIFY COLUMN " + quoteName(c.name) + " " + c.typeName
		if known && from.widens(to) && !slices.Contains(x.sorting, c.name) {
			steps = append(steps, modify)
			continue
		}
		return nil, &change.Problem{Kind: change.Poison, What: fmt.Sprintf("%s.%s is a %s and does not hold %s", x.name, c.name, have.typeName, lacks), Where: b.where(),
			Table: change.TableName{DB: w.owner.Database, Name: w.owner.Table}, Why: "rows would be bent, or stopped one by one",
			Mend: modify + ", if its rows may be converted so; or begin anew: sluice replay --to beginning --empty"}
	}
	if x.owner == nil {
		steps = append(steps, alter+"COMMENT COLUMN "+quoteName(b.versionColumn())+" "+quoteText(w.owner.String()))
	}
	return steps, nil
}
