package schema

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
)

// Value returns the schema of the values of the table's topic: Debezium's envelope as JSON on one line. The text
// is made of the arguments alone. A Problem says why the table has none: no key, a key column that may be NULL,
// column names that collide, a type that is not known.
func Value(t *change.Table, topic string, o Options) (string, error) {
	return ShapedValue(t, topic, o, Shaping{})
}

// Shaping is what the source does to a table's rows before they are written: it is told, so that who holds a target against the table can do
// the same. It is nothing that a decoder needs.
type Shaping struct {
	Where  string   // only rows of which this expression over the server's columns is true are written; empty: all
	Hidden []string // by column: how its values are hidden; empty, or nothing at all: they are not
}

// ShapedValue is Value for a table whose rows are not written as they are.
func ShapedValue(t *change.Table, topic string, o Options, s Shaping) (string, error) {
	if err := o.Check(); err != nil {
		return "", err
	}
	names, err := check(t)
	if err != nil {
		return "", err
	}
	o = o.normal()
	space := Namespace(topic)
	b := append([]byte(nil), `{"type":"record","name":"Envelope","namespace":"`+space+`","fields":[{"name":"before","type":["null",`...)
	b = appendValueRecord(b, t, names, space, o, s)
	b = append(b, `],"default":null},{"name":"after","type":["null","`+space+`.Value"],"default":null},{"name":"source","type":`...)
	b = append(b, sourceType...)
	b = append(b, `},{"name":"transaction","type":["null",`...)
	b = append(b, transactionType...)
	b = append(b, `],"default":null},{"name":"op","type":"string"}`...)
	for _, name := range [...]string{"ts_ms", "ts_us", "ts_ns"} {
		b = append(b, `,{"name":"`+name+`","type":["null","long"],"default":null}`...)
	}
	b = append(b, `],"connect.version":2,"connect.name":"`+space+`.Envelope"}`...)
	return string(b), nil
}

// Key returns the schema of the keys of the table's topic: nothing but the names and types of the key's columns,
// in key order, whatever the other columns and the settings are.
func Key(t *change.Table, topic string) (string, error) {
	names, err := check(t)
	if err != nil {
		return "", err
	}
	space := Namespace(topic)
	known := map[string]bool{}
	b := append([]byte(nil), `{"type":"record","name":"Key","namespace":"`+space+`","fields":[`...)
	for i, column := range t.Key {
		c := &t.Columns[column]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":"`+names[column]+`","type":`...)
		b = appendType(b, c, ReprOf(c, Options{}), known)
		b = appendColumn(b, c, names[column])
		b = append(b, '}')
	}
	b = append(b, `],"connect.name":"`+space+`.Key"}`...)
	return string(b), nil
}

func appendValueRecord(b []byte, t *change.Table, names []string, space string, o Options, s Shaping) []byte {
	known := map[string]bool{}
	b = append(b, `{"type":"record","name":"Value","namespace":"`+space+`","fields":[`...)
	for i := range t.Columns {
		c := &t.Columns[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":"`+names[i]+`","type":`...)
		if t.IsKey(i) {
			b = appendType(b, c, ReprOf(c, o), known)
		} else {
			b = append(b, `["null",`...)
			b = appendType(b, c, ReprOf(c, o), known)
			b = append(b, `],"default":null`...)
		}
		b = appendColumn(b, c, names[i])
		b = append(b, `,"sluice.nullable":`...)
		b = strconv.AppendBool(b, c.Nullable)
		if i < len(s.Hidden) && s.Hidden[i] != "" {
			b = appendString(append(b, `,"sluice.hidden":`...), s.Hidden[i])
		}
		b = append(b, '}')
	}
	b = append(b, `],"connect.name":"`+space+`.Value","sluice.database":`...)
	b = appendString(b, t.DB)
	b = append(b, `,"sluice.table":`...)
	b = appendString(b, t.Name)
	b = append(b, `,"sluice.key":`...)
	b = appendStrings(b, t.KeyNames())
	if s.Where != "" {
		b = appendString(append(b, `,"sluice.where":`...), s.Where)
	}
	for _, c := range choices {
		if word := *c.of(&o); word != "" {
			b = append(b, `,"`+c.property+`":"`+word+`"`...)
		}
	}
	return append(b, '}')
}

// appendColumn appends the properties that hold the column itself, but for sluice.nullable.
func appendColumn(b []byte, c *change.Column, field string) []byte {
	text := func(name, value string) {
		if value != "" {
			b = appendString(append(b, `,"sluice.`+name+`":`...), value)
		}
	}
	number := func(name string, value int) {
		if value != 0 {
			b = strconv.AppendInt(append(b, `,"sluice.`+name+`":`...), int64(value), 10)
		}
	}
	if c.Name != field {
		text("name", c.Name)
	}
	text("type", c.Type.String())
	if c.Unsigned {
		b = append(b, `,"sluice.unsigned":true`...)
	}
	number("length", c.Length)
	number("precision", c.Precision)
	number("scale", c.Scale)
	text("charset", c.Charset)
	text("collation", c.Collation)
	if c.Elements != nil {
		b = appendStrings(append(b, `,"sluice.elements":`...), c.Elements)
	}
	text("geometry", c.Geometry)
	return b
}

const sourceType = `{"type":"record","name":"Source","namespace":"io.debezium.connector.mysql","fields":[` +
	`{"name":"version","type":"string"},{"name":"connector","type":"string"},{"name":"name","type":"string"},` +
	`{"name":"ts_ms","type":"long"},{"name":"snapshot","type":[{"type":"string","connect.version":1,"connect.parameters":` +
	`{"allowed":"true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"},` +
	`"connect.default":"false","connect.name":"io.debezium.data.Enum"},"null"],"default":"false"},` +
	`{"name":"db","type":"string"},{"name":"sequence","type":["null","string"],"default":null},` +
	`{"name":"ts_us","type":["null","long"],"default":null},{"name":"ts_ns","type":["null","long"],"default":null},` +
	`{"name":"table","type":["null","string"],"default":null},{"name":"server_id","type":"long"},` +
	`{"name":"gtid","type":["null","string"],"default":null},{"name":"file","type":"string"},{"name":"pos","type":"long"},` +
	`{"name":"row","type":"int"},{"name":"thread","type":["null","long"],"default":null},` +
	`{"name":"query","type":["null","string"],"default":null}` +
	`],"connect.version":1,"connect.name":"io.debezium.connector.mysql.Source"}`

const transactionType = `{"type":"record","name":"block","namespace":"event","fields":[{"name":"id","type":"string"},` +
	`{"name":"total_order","type":"long"},{"name":"data_collection_order","type":"long"}],` +
	`"connect.version":1,"connect.name":"event.block"}`

// check returns the columns' field names when the table can have a topic.
func check(t *change.Table) ([]string, error) {
	poison := func(format string, args ...any) error {
		return &change.Problem{Kind: change.Poison, Table: t.TableName, Where: t.String(), What: fmt.Sprintf(format, args...)}
	}
	if len(t.Key) == 0 {
		return nil, poison("the table has no key: name a unique NOT NULL key in its config")
	}
	seen := map[int]bool{}
	for _, k := range t.Key {
		switch {
		case k < 0 || k >= len(t.Columns):
			return nil, poison("key column %d of %d columns", k, len(t.Columns))
		case seen[k]:
			return nil, poison("key column %q is named twice", t.Columns[k].Name)
		case t.Columns[k].Nullable:
			return nil, poison("key column %q may be NULL: a row without a key can't be told from another", t.Columns[k].Name)
		}
		seen[k] = true
	}
	for i := range t.Columns {
		c := &t.Columns[i]
		if c.Name == "" {
			return nil, poison("column %d has no name", i)
		}
		if ReprOf(c, Options{}) == 0 {
			return nil, poison("column %q has a type that is not known", c.Name)
		}
		for _, s := range append([]string{c.Name}, c.Elements...) {
			if !utf8.ValidString(s) {
				return nil, poison("column %q: %q is not UTF-8", c.Name, s)
			}
		}
	}
	return fieldNames(t)
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// appendString appends s, which is UTF-8, as a JSON string. encoding/json would do but escapes <, > and &, and what
// it escapes has changed between Go releases: the text is the schema's identity.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
