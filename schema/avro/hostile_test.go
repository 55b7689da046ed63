package avro

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/schema"
)

// TestDamagedRecords: cut, lengthened and flipped records give an error or other values, never a panic, and never
// memory that the record's length does not explain.
func TestDamagedRecords(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := randomRows{rand.New(rand.NewPCG(seed, 0))}
	for range 25 {
		table := r.table()
		e, err := NewEncoder(table, "t", schema.Options{})
		if err != nil {
			t.Fatal(err)
		}
		image, _, _ := r.row(table)
		body, err := e.AppendValue(nil, &Event{Op: change.Update, Before: image, After: image, Source: randomSource(r)})
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDecoder(e.ValueSchema())
		if err != nil {
			t.Fatal(err)
		}
		var into Decoded
		for n := range body {
			if d.Decode(body[:n], &into) == nil {
				t.Fatalf("seed %d: a record of %d bytes was read from %d", seed, len(body), n)
			}
		}
		if err := d.Decode(append(body, 0), &into); err == nil || change.SeverityOf(err) != change.Poison {
			t.Fatalf("seed %d: a byte too many: %v", seed, err)
		}
		for range 200 {
			damaged := append([]byte(nil), body...)
			for range 1 + r.IntN(3) {
				damaged[r.IntN(len(damaged))] = byte(r.Uint32())
			}
			_ = d.Decode(damaged, &into)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for seed := range uint64(20) {
		r := randomRows{rand.New(rand.NewPCG(seed, 7))}
		table := r.table()
		e, err := NewEncoder(table, "t", schema.Options{})
		if err != nil {
			f.Fatal(err)
		}
		image, _, _ := r.row(table)
		body, _ := e.AppendValue(nil, &Event{Op: change.Update, Before: image, After: image})
		f.Add(seed, body)
	}
	f.Fuzz(func(t *testing.T, seed uint64, body []byte) {
		r := randomRows{rand.New(rand.NewPCG(seed, 7))}
		e, err := NewEncoder(r.table(), "t", r.options())
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDecoder(e.ValueSchema())
		if err != nil {
			t.Fatal(err)
		}
		var into Decoded
		_ = d.Decode(body, &into)
		k, err := NewKeyDecoder(e.KeySchema())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = k.Decode(body, nil)
	})
}

// TestFieldsOfLaterVersions: fields that this version does not know are passed over, wherever they stand.
func TestFieldsOfLaterVersions(t *testing.T) {
	e, image, _ := sysbench(t)
	unknown := `{"name":"later","type":["null","int","string",{"type":"array","items":{"type":"map","values":"long"}},` +
		`{"type":"record","name":"more","fields":[{"name":"a","type":{"type":"fixed","name":"f","size":3}},` +
		`{"name":"b","type":{"type":"enum","name":"e","symbols":["x"]}},{"name":"c","type":["null","more"]},` +
		`{"name":"d","type":"double"},{"name":"e","type":"float"},{"name":"f","type":"boolean"},{"name":"g","type":"bytes"}]}]},`
	text := strings.Replace(e.ValueSchema(), `{"name":"op",`, unknown+`{"name":"op",`, 1)
	text = strings.Replace(text, `{"name":"connector",`, `{"name":"cluster","type":"string"},{"name":"connector",`, 1)
	d, err := NewDecoder(text)
	if err != nil {
		t.Fatal(err)
	}
	event := &Event{Op: change.Create, After: image, Source: Source{Version: "V", Name: "N"}}
	plain, err := e.AppendValue(nil, event)
	if err != nil {
		t.Fatal(err)
	}
	body := strings.Replace(string(plain), "\x02V", "\x02V\x06abc", 1)
	end := strings.LastIndex(body, "\x02c\x02") // op
	for name, later := range map[string]string{
		"null": "\x00", "int": "\x02\x04", "string": "\x04\x02s",
		"array of maps":   "\x06\x04\x02\x02k\x08\x00\x01\x02z\x00\x00", // two maps, the second in a block with its size
		"array of none":   "\x06\x00",
		"recursive":       "\x08abc\x00\x02xyz\x00\x00" + strings.Repeat("d", 8) + "eeee\x01\x00" + strings.Repeat("d", 8) + "eeee\x01\x02g",
		"sized and empty": "\x06\x03\x04\x00\x00\x00",
	} {
		var into Decoded
		err := d.Decode([]byte(body[:end]+later+body[end:]), &into)
		if err != nil || into.Op != change.Create || len(into.After) != 6 || into.Source.Name != "N" {
			t.Errorf("%s: %v, %+v", name, err, into)
		}
	}
	deep := strings.Repeat("abc\x00\x02", 100)
	for name, bad := range map[string]string{
		"branch": "\x0a", "negative branch": "\x01", "too many": "\x06\xfe\xff\xff\xff\xff\xff\xff\xff\x01", "too deep": "\x08" + deep,
		"negative length": "\x04\x01",
	} {
		var into Decoded
		if err := d.Decode([]byte(body[:end]+bad+body[end:]), &into); err == nil {
			t.Errorf("%s: was read", name)
		}
	}
}

// TestEnvelopesOfOthers: an envelope with our columns in it and other types around them is refused.
func TestEnvelopesOfOthers(t *testing.T) {
	e, _, _ := sysbench(t)
	for _, c := range [][2]string{
		{`"name":"op","type":"string"`, `"name":"op","type":"int"`},
		{`"name":"ts_ms","type":["null","long"],"default":null}]`, `"name":"ts_ms","type":["null","int"],"default":null}]`},
		{`"name":"pos","type":"long"`, `"name":"pos","type":"string"`},
		{`"name":"total_order","type":"long"`, `"name":"total_order","type":"int"`},
		{`{"name":"after","type":["null","bench.sbtest.sbtest1.Value"]`, `{"name":"after","type":["null","string"]`},
		{`{"name":"after","type":["null","bench.sbtest.sbtest1.Value"]`, `{"name":"after","type":["bench.sbtest.sbtest1.Value","null"]`},
	} {
		text := strings.Replace(e.ValueSchema(), c[0], c[1], 1)
		if text == e.ValueSchema() {
			if text = strings.Replace(text, strings.TrimSuffix(c[0], "]"), strings.TrimSuffix(c[1], "]"), 1); text == e.ValueSchema() {
				t.Fatalf("%s is not in the text", c[0])
			}
		}
		if _, err := NewDecoder(text); err == nil || change.SeverityOf(err) != change.Poison {
			t.Errorf("%s: got %v", c[1], err)
		}
	}
	if _, err := NewDecoder(e.KeySchema()); err == nil {
		t.Error("a key's schema made a value decoder")
	}
	if _, err := NewKeyDecoder(e.ValueSchema()); err == nil {
		t.Error("a value's schema made a key decoder")
	}
}
