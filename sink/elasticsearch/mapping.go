package elasticsearch

import (
	"github.com/sluice-cdc/sluice/change"
)

// keywordMax is how many letters a keyword may have: a term is at most 32,766 bytes, a letter up to 4.
const keywordMax = 8191

// field is the mapping of one column. Values that a type's index cannot hold (a zero date, a number above 2^63) stay in the
// document and are left out of the index (ignore_malformed, ignore_above), rather than that a row is refused for them.
func field(c *change.Column) map[string]any {
	typed := func(name string) map[string]any { return map[string]any{"type": name} }
	lenient := func(name string) map[string]any { return map[string]any{"type": name, "ignore_malformed": true} }
	switch c.Type {
	case change.TinyInt, change.SmallInt, change.MediumInt, change.Int, change.Year:
		return typed("long")
	case change.BigInt:
		return lenient("long")
	case change.Decimal, change.Double, change.Float:
		return lenient("double")
	case change.Bit:
		if c.Length == 1 {
			return typed("boolean")
		}
		return lenient("long")
	case change.Date, change.DateTime, change.Timestamp:
		return lenient("date")
	case change.Enum, change.Set, change.Time:
		return map[string]any{"type": "keyword", "ignore_above": keywordMax}
	case change.JSON:
		return map[string]any{"type": "object", "enabled": false}
	case change.Binary, change.VarBinary, change.TinyBlob, change.Blob, change.MediumBlob, change.LongBlob, change.Geometry:
		return typed("binary")
	case change.Vector:
		return map[string]any{"type": "float", "index": false, "doc_values": false}
	}
	return map[string]any{"type": "text", "fields": map[string]any{"keyword": map[string]any{"type": "keyword", "ignore_above": 256}}}
}

// properties returns the mappings of all columns, and of Sluice's own fields.
func (c *Config) properties(t *change.Table) map[string]any {
	fields := make(map[string]any, len(t.Columns)+2)
	for i := range t.Columns {
		fields[fieldName(t.Columns[i].Name)] = field(&t.Columns[i])
	}
	if c.Documents == Envelope {
		row := map[string]any{"properties": fields}
		fields = map[string]any{"op": map[string]any{"type": "keyword"}, "before": row, "after": row,
			"source": map[string]any{"properties": map[string]any{
				"db": map[string]any{"type": "keyword"}, "table": map[string]any{"type": "keyword"},
				"gtid": map[string]any{"type": "keyword", "ignore_above": keywordMax}, "ts_ms": map[string]any{"type": "long"},
			}}}
	}
	fields[fieldDeleted] = map[string]any{"type": "boolean"}
	fields[fieldDeletedAt] = map[string]any{"type": "date", "format": "epoch_millis"}
	return fields
}

// missing returns those of the wanted mappings that an index lacks, at any depth. A field that is there stays as it is: how it
// is mapped is the index's owner's choice.
func missing(want, have map[string]any) map[string]any {
	lacks := make(map[string]any)
	for name, w := range want {
		h, ok := have[name]
		if !ok {
			lacks[name] = w
			continue
		}
		inner := missing(inside(w, "properties"), inside(h, "properties"))
		if len(inner) > 0 {
			lacks[name] = map[string]any{"properties": inner}
		}
	}
	return lacks
}

// countFields counts as the server does for index.mapping.total_fields.limit.
func countFields(properties map[string]any) int {
	n := len(properties)
	for _, p := range properties {
		n += countFields(inside(p, "properties")) + countFields(inside(p, "fields"))
	}
	return n
}

// inside returns the object of that name in a mapping, nil where there is none.
func inside(mapping any, name string) map[string]any {
	outer, _ := mapping.(map[string]any)
	inner, _ := outer[name].(map[string]any)
	return inner
}

// aliasOf is the alias as it should be: tombstones are not seen through it.
func aliasOf() map[string]any {
	return map[string]any{
		"is_write_index": true,
		"filter":         map[string]any{"bool": map[string]any{"must_not": map[string]any{"term": map[string]any{fieldDeleted: true}}}},
	}
}

// fieldsDefault is how many fields the server allows an index where nothing is said.
const fieldsDefault = 1000

// OpenSearch bounds the depth of a document also where it does not look into it; MySQL's JSON goes down to 100.
const (
	depthLimit = "index.mapping.depth.limit"
	jsonDepth  = 128
)

// creation returns the body that makes a table's index.
func (c *Config) creation(alias string, o owner, t *change.Table) map[string]any {
	properties := c.properties(t)
	body := map[string]any{
		"mappings": map[string]any{"dynamic": false, "_meta": map[string]any{metaKey: o}, "properties": properties},
		"aliases":  map[string]any{alias: aliasOf()},
	}
	settings := map[string]any{depthLimit: jsonDepth}
	if n := countFields(properties); n > fieldsDefault {
		settings[fieldsLimit] = 2 * n
	}
	body["settings"] = settings
	return body
}
