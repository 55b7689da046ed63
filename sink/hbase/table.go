package hbase

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// markerKey is the key of the row that says what a table holds. No other row has it, for keys are UTF-8, and none comes behind it.
const markerKey = "\xffsluice"

// latest is HBase's word for its own time.
const latest = math.MaxInt64

// mark is what a table's own row says.
type mark struct {
	Made     string   `json:"made"` // tells a table from one that was made after it was lost
	Source   string   `json:"source"`
	Database string   `json:"database"`
	Table    string   `json:"table"`
	Key      []string `json:"key"`
	RowKey   string   `json:"row_key"`
}

func newMark(source string, p *plan) *mark {
	return &mark{Made: rand.Text(), Source: source, Database: p.table.DB, Table: p.table.Name, Key: p.table.KeyNames(), RowKey: p.key.String()}
}

// sameTable reports whether both are of one table of one source, in whatever form.
func (m *mark) sameTable(n *mark) bool {
	return m.Source == n.Source && m.Database == n.Database && m.Table == n.Table
}

// check refuses a table that holds something else.
func (m *mark) check(name string, want *mark) error {
	p := &change.Problem{Kind: change.Poison, Table: change.TableName{DB: want.Database, Name: want.Table}, Where: "table " + name}
	switch {
	case !m.sameTable(want):
		p.What = fmt.Sprintf("the table holds %s.%s of source %s, not %s.%s of source %s", m.Database, m.Table, m.Source, want.Database, want.Table, want.Source)
		p.Why = "rows of two tables would overwrite each other; versions of two sources cannot be compared"
		p.Mend = "set an hbase.table that tells them apart ({source}, {db} and {table} stand for the parts)"
	case !slices.Equal(m.Key, want.Key) || m.RowKey != want.RowKey:
		p.What = fmt.Sprintf("the table's row keys are %s of the key (%s), wanted are %s of (%s)", m.RowKey, strings.Join(m.Key, ", "), want.RowKey, strings.Join(want.Key, ", "))
		p.Why = "the rows of before would stay beside those of now"
		p.Mend = "begin anew: sluice replay --to beginning --empty, or set the row_key and salt of before"
	default:
		return nil
	}
	return p
}

// look returns what a table's own row says, nil where it has none.
func (t *Target) look(ctx context.Context, table string) (*mark, error) {
	text, err := t.stateOf(ctx, table, t.config.Family+":"+stateQualifier, markerKey)
	if err != nil || text == nil {
		return nil, t.client.judge("the table "+table+" could not be looked at", err)
	}
	m := &mark{}
	said, _ := strings.CutPrefix(string(text), stateTable+" ")
	if err := json.Unmarshal([]byte(said), m); err != nil {
		return nil, &change.Problem{Kind: change.Poison, What: fmt.Sprintf("the row %q of the table %s is none of Sluice's", markerKey, table), Where: t.client.base, Err: err}
	}
	return m, nil
}

// stateOf returns the state cell of one row, nil where there is none. A scan is used: its key is exact, and where the gateway fails it does not
// say that there is no row, but nothing; so an absent row is looked for twice.
func (t *Target) stateOf(ctx context.Context, table, column, key string) (text []byte, err error) {
	for range 2 {
		scanner, err := t.client.openScanner(ctx, table, &scanRequest{start: []byte(key), end: []byte(key + "\x00"), columns: []string{column}, cells: 1})
		if err != nil {
			return nil, err
		}
		rows, err := t.client.next(ctx, scanner)
		t.client.closeScanner(ctx, scanner)
		if err != nil {
			return nil, err
		}
		if len(rows) > 0 && len(rows[0].cells) > 0 && len(rows[0].cells[0].value) > 0 {
			return rows[0].cells[0].value, nil
		}
	}
	return nil, nil
}

// mark writes a table's own row.
func (t *Target) mark(ctx context.Context, table string, m *mark) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return t.putState(ctx, table, t.config.Family+":"+stateQualifier, markerKey, stateTable+" "+string(text))
}

// putState writes a state cell of Sluice's own with the server's time: these are no versions, and clocks of ours may differ.
func (t *Target) putState(ctx context.Context, table, column, key, text string) error {
	cells := appendCell(nil, column, latest, []byte(text))
	return t.write(ctx, table, []put{{key: []byte(key), row: appendRow(nil, []byte(key), cells)}})
}

// lookEvery is how often a table is looked at while it is written to.
const lookEvery = 10 * time.Second

// stillOurs looks, after a batch, whether the table is the one that was prepared: it may have been truncated, or made anew by somebody.
func (t *Target) stillOurs(ctx context.Context, p *plan) error {
	t.mu.Lock()
	m := t.marks[p.name]
	due := m != nil && t.now().Sub(t.looked[p.name]) >= t.lookEvery
	if due {
		t.looked[p.name] = t.now()
	}
	t.mu.Unlock()
	if !due {
		return nil
	}
	have, err := t.look(ctx, p.name)
	if err == nil && (have == nil || have.Made != m.Made) {
		err = t.lost(p)
	}
	if err != nil {
		t.mu.Lock()
		delete(t.looked, p.name) // the next try looks again
		t.mu.Unlock()
	}
	return err
}

// lost tells of a table that was there before.
func (t *Target) lost(p *plan) error {
	return &change.Problem{Kind: change.Poison, Table: p.table.TableName, Where: t.client.base,
		What: "the table " + p.name + " was there before and is gone, or its own row is",
		Why:  "filled on from here it would show only the rows that change from now on",
		Mend: "bring it back (a snapshot), or begin anew: sluice replay --to beginning --empty"}
}

// schema is what the gateway says of a table.
type schema map[string]any

// schemaOf returns nil where there is no such table.
func (t *Target) schemaOf(ctx context.Context, table string) (schema, error) {
	var s schema
	err := t.client.json(ctx, "/"+table+"/schema", &s)
	if has(err, http.StatusNotFound) {
		return nil, nil
	}
	return s, t.client.judge("the table "+table+" could not be looked at", err)
}

// family returns the attributes of a column family, nil where there is none.
func (s schema) family(name string) map[string]any {
	families, _ := s["ColumnSchema"].([]any)
	for _, f := range families {
		if attributes, _ := f.(map[string]any); attributes["name"] == name {
			return attributes
		}
	}
	return nil
}

// attribute returns an attribute in upper case, empty where it is not set.
func attribute(of map[string]any, name string) string {
	text, _ := of[name].(string)
	return strings.ToUpper(text)
}

// problem says why a table cannot hold rows, nil where it can.
func (s schema) problem(table, family string) *change.Problem {
	p := &change.Problem{Kind: change.Poison, Where: "table " + table}
	switch {
	case s.family(family) == nil:
		p.What = fmt.Sprintf("the table %s has no column family %s", table, family)
		p.Mend = fmt.Sprintf("in the HBase shell: alter '%s', {NAME => '%s', VERSIONS => 1}, or set another hbase.family", table, family)
	case attribute(s, "READONLY") == "TRUE":
		p.What = "the table " + table + " is read-only"
		p.Mend = fmt.Sprintf("in the HBase shell: alter '%s', READONLY => false", table)
	case attribute(s, "DURABILITY") == "SKIP_WAL" || attribute(s, "DURABILITY") == "ASYNC_WAL":
		p.What = fmt.Sprintf("the table %s has DURABILITY %s", table, attribute(s, "DURABILITY"))
		p.Why = "what HBase has acknowledged would be lost when a region server ends, and does not come again"
		p.Mend = fmt.Sprintf("in the HBase shell: alter '%s', DURABILITY => 'USE_DEFAULT'", table)
	default:
		return nil
	}
	return p
}

// creation is the shell's statement that makes a table as Sluice would have it, split by its salt.
func creation(p *plan, family string) string {
	text := fmt.Sprintf("create '%s', {NAME => '%s', VERSIONS => 1, DATA_BLOCK_ENCODING => 'FAST_DIFF'}", p.name, family)
	if splits := p.key.splits(); len(splits) > 0 {
		text += ", SPLITS => ['" + strings.Join(splits, "', '") + "']"
	}
	return text
}

// definition is the gateway's form of a new table.
func definition(table, family string) schema {
	return schema{"name": table, "ColumnSchema": []any{map[string]any{"name": family, "VERSIONS": "1", "DATA_BLOCK_ENCODING": "FAST_DIFF"}}}
}

// create makes a table. made is false where another process was faster.
func (t *Target) create(ctx context.Context, table string, s schema) (made bool, err error) {
	body, err := json.Marshal(s)
	if err != nil {
		return false, err
	}
	_, status, _, err := t.client.do(ctx, http.MethodPut, "/"+table+"/schema", asJSON, body)
	if has(err, http.StatusNotModified) || err == nil && status != http.StatusCreated {
		return false, nil
	}
	return err == nil, err
}
