package avro

import (
	"fmt"

	"github.com/sluice-cdc/sluice/schema"
)

// sourceField is how one field of the source block is read.
type sourceField struct {
	kind     string // of the type under the union: string, int, long; empty: the field is passed over
	null     int    // index of null in the union, -1: no union
	text     func(*Source) *string
	number   func(*Source, int64)
	typ      *schema.Type
	optional bool
}

// sourceTargets says where the fields of the source block go.
var sourceTargets = map[string]sourceField{
	"version":   {kind: "string", text: func(s *Source) *string { return &s.Version }},
	"name":      {kind: "string", text: func(s *Source) *string { return &s.Name }},
	"snapshot":  {kind: "string", text: func(s *Source) *string { return &s.Snapshot }},
	"db":        {kind: "string", text: func(s *Source) *string { return &s.DB }},
	"table":     {kind: "string", text: func(s *Source) *string { return &s.Table }},
	"gtid":      {kind: "string", text: func(s *Source) *string { return &s.GTID }},
	"file":      {kind: "string", text: func(s *Source) *string { return &s.File }},
	"query":     {kind: "string", text: func(s *Source) *string { return &s.Query }},
	"ts_ms":     {kind: "long", number: func(s *Source, n int64) { s.TsMs = n }},
	"ts_us":     {kind: "long", number: func(s *Source, n int64) { s.TsUs = n }},
	"ts_ns":     {kind: "long", number: func(s *Source, n int64) { s.TsNs = n }},
	"server_id": {kind: "long", number: func(s *Source, n int64) { s.ServerID = n }},
	"pos":       {kind: "long", number: func(s *Source, n int64) { s.Pos = n }},
	"row":       {kind: "int", number: func(s *Source, n int64) { s.Row = int32(n) }},
	"thread":    {kind: "long", number: func(s *Source, n int64) { s.Thread = n }},
}

func sourceFields(t *schema.Type) ([]sourceField, error) {
	var fields []sourceField
	for i := range t.Fields {
		f := &t.Fields[i]
		target, known := sourceTargets[f.Name]
		target.typ, target.null = f.Type, -1
		if known {
			of := f.Type
			if other, nullFirst, ok := of.Optional(); ok {
				of, target.optional, target.null = other, true, 1
				if nullFirst {
					target.null = 0
				}
			}
			if of.Kind != target.kind {
				return nil, fmt.Errorf("field source.%s is of type %s, not %s", f.Name, of.Kind, target.kind)
			}
		}
		fields = append(fields, target)
	}
	return fields, nil
}

func (d *Decoder) readSource(r *reader, s *Source) {
	for i := range d.source {
		f := &d.source[i]
		if f.kind == "" {
			r.skip(f.typ, 0)
			continue
		}
		if f.optional && r.branch(2) == f.null {
			if f.text != nil {
				*f.text(s) = ""
			} else {
				f.number(s, 0)
			}
			continue
		}
		switch {
		case f.text != nil:
			keep(f.text(s), r.bytes())
		case f.kind == "int":
			f.number(s, int64(r.int()))
		default:
			f.number(s, r.long())
		}
	}
}
