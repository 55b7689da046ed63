package peer_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/linkedin/goavro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/sluice-cdc/sluice/testbed"
)

// row is a row of shop.sb in JSON.
type row struct {
	ID  json.Number `json:"id"`
	K   json.Number `json:"k"`
	C   string      `json:"c"`
	Pad string      `json:"pad"`
}

func (r *row) String() string { return fmt.Sprintf("%s|%s|%s|%s", r.ID, r.K, r.C, r.Pad) }

func maxwellEvent(r *kgo.Record) (event, bool) {
	var v struct {
		Database, Table, Type string
		Data                  row
	}
	if err := json.Unmarshal(r.Value, &v); err != nil {
		return event{op: fmt.Sprintf("no JSON: %v: %.200s", err, r.Value)}, true
	}
	e := event{op: map[string]string{"insert": "c", "update": "u", "delete": "d"}[v.Type], id: v.Data.ID.String(), row: v.Data.String()}
	if e.op == "" || v.Database != "shop" || v.Table != "sb" {
		e.op = fmt.Sprintf("%s of %s.%s", v.Type, v.Database, v.Table)
	}
	return e, true
}

func jsonEvent(r *kgo.Record) (event, bool) {
	if r.Value == nil {
		return event{}, false
	}
	var v struct {
		Op            string
		Before, After *row
	}
	decoder := json.NewDecoder(bytes.NewReader(r.Value))
	if err := decoder.Decode(&v); err != nil {
		return event{op: fmt.Sprintf("no JSON: %v: %.200s", err, r.Value)}, true
	}
	if v.Op == "d" && v.Before != nil {
		return event{op: v.Op, id: v.Before.ID.String()}, true
	}
	if v.After == nil {
		return event{op: "without a row: " + v.Op}, true
	}
	return event{op: v.Op, id: v.After.ID.String(), row: v.After.String()}, true
}

// avroEvents decodes by the schemas that the records name.
func (b *bed) avroEvents(schemas *testbed.Registry) func(*kgo.Record) (event, bool) {
	client, err := sr.NewClient(sr.URLs(schemas.URL()))
	if err != nil {
		b.t.Fatal(err)
	}
	codecs := map[uint32]*goavro.Codec{}
	return func(r *kgo.Record) (event, bool) {
		if r.Value == nil {
			return event{}, false
		}
		if len(r.Value) < 5 || r.Value[0] != 0 {
			b.t.Fatalf("a value of %d bytes without the frame of a registry", len(r.Value))
		}
		id := binary.BigEndian.Uint32(r.Value[1:])
		codec := codecs[id]
		if codec == nil {
			text, err := client.SchemaTextByID(b.t.Context(), int(id))
			if err == nil {
				codec, err = goavro.NewCodec(text)
			}
			if err != nil {
				b.t.Fatalf("schema %d: %v", id, err)
			}
			codecs[id] = codec
		}
		native, rest, err := codec.NativeFromBinary(r.Value[5:])
		if err != nil || len(rest) > 0 {
			b.t.Fatalf("decode by schema %d: %v, %d bytes left", id, err, len(rest))
		}
		v := native.(map[string]any)
		op := v["op"].(string)
		image := "after"
		if op == "d" {
			image = "before"
		}
		// The image is a union of null and the row, which goavro gives by the row's name.
		branches, _ := v[image].(map[string]any)
		for _, branch := range branches {
			row := branch.(map[string]any)
			e := event{op: op, id: fmt.Sprint(row["id"])}
			if op != "d" {
				e.row = fmt.Sprintf("%v|%v|%v|%v", row["id"], row["k"], row["c"], row["pad"])
			}
			return e, true
		}
		return event{op: "without a row: " + op}, true
	}
}
