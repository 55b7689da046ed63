package elasticsearch

import (
	"encoding/json"

	"github.com/sluice-cdc/sluice/change"
)

// field is the mapping of one column. Values that a type's index cannot hold (a zero date, a number above 2^63) stay in the
// document and are left out of the index (ignore_malformed), rather than that a row is refused for them.
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
		return typed("keyword")
	case change.JSON:
		return map[string]any{"type": "object", "enabled": false}
	case change.Binary, change.VarBinary, change.TinyBlob, change.Blob, change.MediumBlob, change.LongBlob, change.Geometry:
		return typed("binary")
	case change.Vector:
		return map[string]any{"type": "float", "index": false}
	}
	return map[string]any{"type": "text", "fields": map[string]any{"keyword": map[string]any{"type": "keyword", "ignore_above": 256}}}
}

// properties returns the mappings of all columns, and of Sluice's own fields.
func (c *Config) properties(t *change.Table) map[string]any {
	fields := make(map[string]any, len(t.Columns)+2)
	for i := range t.Columns {
		fields[t.Columns[i].Name] = field(&t.Columns[i])
	}
	if c.Documents == Envelope {
		row := map[string]any{"properties": fields}
		fields = map[string]any{"op": map[string]any{"type": "keyword"}, "before": row, "after": row,
			"source": map[string]any{"properties": map[string]any{
				"db": map[string]any{"type": "keyword"}, "table": map[string]any{"type": "keyword"},
				"gtid": map[string]any{"type": "keyword"}, "ts_ms": map[string]any{"type": "long"},
			}}}
	}
	if c.Deletes == Tombstone {
		fields[fieldDeleted] = map[string]any{"type": "boolean"}
		fields[fieldDeletedAt] = map[string]any{"type": "date", "format": "epoch_millis"}
	}
	return fields
}

// creation returns the body that makes an index.
func (c *Config) creation(index string, t *change.Table) map[string]any {
	body := map[string]any{"mappings": map[string]any{"dynamic": false, "properties": c.properties(t)}}
	if c.Deletes == Tombstone {
		body["aliases"] = map[string]any{index: map[string]any{
			"filter": map[string]any{"bool": map[string]any{"must_not": map[string]any{"term": map[string]any{fieldDeleted: true}}}},
		}}
	}
	return body
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
