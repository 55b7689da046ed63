package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// ledgerEntry says what stands under a table's name: who wrote it and how.
type ledgerEntry struct {
	Source   string   `json:"source"`
	Database string   `json:"database"`
	Table    string   `json:"table"`
	Group    string   `json:"group"`
	Key      []string `json:"key"`  // the columns
	Form     string   `json:"form"` // what of the config says how rows are kept
}

// form is what of the config decides where rows, indexes and streams stand. How many entries a stream keeps does not.
func (p *plan) form() string {
	b := fmt.Appendf(nil, "as %s, key %s, slots %d", p.config.as(), p.config.key(), p.config.slots())
	if p.value >= 0 {
		b = fmt.Appendf(b, ", value %s", p.config.Value)
	}
	indexes := slices.Clone(p.config.Indexes)
	slices.SortFunc(indexes, func(a, b Index) int { return strings.Compare(a.Name, b.Name) })
	for _, x := range indexes {
		b = fmt.Appendf(b, ", index %s (%s%s)", x.Name, x.Kind, columnsText(x))
	}
	if s := p.config.Stream; s != nil {
		b = fmt.Appendf(b, ", stream %s", s.name())
	}
	return string(b)
}

func columnsText(x Index) string {
	text := ""
	for _, c := range [][2]string{{"by", x.By}, {"score", x.Score}, {"longitude", x.Longitude}, {"latitude", x.Latitude}} {
		if c[1] != "" {
			text += " " + c[0] + " " + c[1]
		}
	}
	return text
}

// ledgerKey is in the first of the table's slots.
func ledgerKey(base string) string { return "sluice:table:" + base }

// Prepare makes sure that the config fits the table, and that the table's name is not another's.
func (t *Target) Prepare(ctx context.Context, group, source string, tables []*change.Table) error {
	for _, table := range tables {
		p, err := t.planOf(source, table)
		if err != nil {
			return err
		}
		client, err := t.connect(ctx)
		if err != nil {
			return err
		}
		want := ledgerEntry{Source: source, Database: table.DB, Table: table.Name, Group: group, Key: table.KeyNames(), Form: p.form() + inShape(table)}
		have, err := t.enter(ctx, client, want)
		if err != nil {
			return err
		}
		if err := t.compareEntries(have, want); err != nil {
			return err
		}
		t.mu.Lock()
		t.prepared[p.topic] = want
		t.mu.Unlock()
	}
	return nil
}

// inShape is the part of a ledger's entry that says in which shape the rows are.
func inShape(table *change.Table) string {
	if table.Shape == "" {
		return ""
	}
	return " in shape " + table.Shape
}

// enter writes down whose the table's name is, unless that is written, and returns what is.
func (t *Target) enter(ctx context.Context, client rueidis.Client, want ledgerEntry) (have ledgerEntry, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	text, err := json.Marshal(want)
	if err != nil {
		return have, err
	}
	key := ledgerKey(t.config.base(want.Source, change.TableName{DB: want.Database, Name: want.Table}, 0))
	answers := client.DoMulti(ctx, client.B().Set().Key(key).Value(string(text)).Nx().Build(), client.B().Get().Key(key).Build())
	if err := answers[0].Error(); err != nil && !rueidis.IsRedisNil(err) {
		return have, t.judge("a table could not be prepared", err)
	}
	written, err := answers[1].ToString()
	if err != nil {
		return have, t.judge("a table could not be prepared", err)
	}
	if err := json.Unmarshal([]byte(written), &have); err != nil {
		return have, &change.Problem{Kind: change.Poison, What: "the key " + key + " is not what Sluice writes there", Where: t.where(), Err: err,
			Mend: "begin anew: sluice replay --to beginning --empty"}
	}
	return have, nil
}

// compareEntries refuses a name under which something else stands.
func (t *Target) compareEntries(have, want ledgerEntry) error {
	p := &change.Problem{Kind: change.Poison, Table: change.TableName{DB: want.Database, Name: want.Table}, Where: t.where()}
	switch {
	case have.Source != want.Source || have.Database != want.Database || have.Table != want.Table:
		p.What = fmt.Sprintf("under the name of %s.%s of source %s stand the rows of %s.%s of source %s", want.Database, want.Table, want.Source,
			have.Database, have.Table, have.Source)
		p.Why = "rows of two tables would overwrite each other; versions of two sources cannot be compared"
		p.Mend = "set a redis.name that tells them apart ({source}, {db} and {table} stand for the parts), or another redis.database"
	case have.Group != want.Group:
		p.What = fmt.Sprintf("the rows of %s.%s are those of group %s, not of %s", want.Database, want.Table, have.Group, want.Group)
		p.Why = "two groups that write the same keys undo each other's work"
		p.Mend = "set another redis.name or redis.database, or stop that group for good and begin anew: sluice replay --to beginning --empty"
	case !slices.Equal(have.Key, want.Key):
		p.What = fmt.Sprintf("the rows of %s.%s have the key (%s), the table has (%s)", want.Database, want.Table, strings.Join(have.Key, ", "), strings.Join(want.Key, ", "))
		p.Why = "the rows of before would stay beside those of now"
		p.Mend = "begin anew: sluice replay --to beginning --empty"
	case have.Form != want.Form:
		p.What = fmt.Sprintf("the rows of %s.%s are kept otherwise than redis.tables and shape say", want.Database, want.Table)
		p.Why = "there: " + have.Form + "\nhere:  " + want.Form
		p.Mend = "begin anew: sluice replay --to beginning --empty, or set the config back"
	default:
		return nil
	}
	return p
}

// Shape says what the target should hold for a row of the source.
func (t *Target) Shape(source string, table *change.Table, values []change.Value, into []sink.Row) ([]sink.Row, error) {
	p, err := t.planOf(source, table)
	if err != nil {
		return into, err
	}
	if p.value < 0 {
		return append(into, sink.Row{Columns: p.columns, Values: values}), nil
	}
	if values[p.value].IsNull() {
		return into, nil
	}
	row := sink.Row{Columns: p.columns, Values: make([]change.Value, len(p.columns))}
	for i, at := range p.shown {
		row.Values[i] = values[at]
	}
	return append(into, row), nil
}
