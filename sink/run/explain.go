package run

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/verify"
)

const (
	// sampleMax bounds how many records of a table are explained.
	sampleMax = 1000
	// sampleReach is how many offsets of each partition are read for each record that is wanted: transaction markers and tombstones
	// lie between them.
	sampleReach = 4
)

// explained is a row with what becomes of it.
type explained struct {
	Topic     string            `json:"topic"`
	Partition *int32            `json:"partition,omitempty"`
	Offset    *int64            `json:"offset,omitempty"`
	Op        string            `json:"op,omitempty"`
	Version   change.Version    `json:"version,omitempty"`
	Key       map[string]string `json:"key"`
	Before    []explainedTable  `json:"before,omitempty"`
	After     []explainedTable  `json:"after,omitempty"`
	Error     string            `json:"error,omitempty"`
}

// explainedTable is what a row is in one table of the target.
type explainedTable struct {
	Table  string           `json:"table"`
	Steps  []string         `json:"steps"`
	Places []explainedPlace `json:"places"` // none: the row is not in the table
}

type explainedPlace struct {
	Shard   string             `json:"shard,omitempty"`
	Key     map[string]string  `json:"key"`
	Columns map[string]*string `json:"columns"`
}

// explain says of sample rows, or of one that is given, where they go and why. It changes nothing.
func (c *command) explain(ctx context.Context) error {
	a, err := c.against(ctx)
	if err != nil {
		return err
	}
	defer a.close()
	client, err := c.registry()
	if err != nil {
		return err
	}
	schemas := newSchemas(client)
	var all []explained
	for _, source := range a.sources() {
		for _, t := range a.topics[source] {
			some, err := a.explainTopic(ctx, schemas, t)
			if err != nil {
				return err
			}
			all = append(all, some...)
		}
	}
	if c.output == "json" {
		return c.printJSON(all)
	}
	for i := range all {
		all[i].print(c)
	}
	if len(all) == 0 {
		fmt.Fprintln(c.stderr, "the topics have no rows yet; --row takes one that you write: --table DB.TABLE --row '{\"id\": 1, ...}'")
	}
	return nil
}

func (a *against) explainTopic(ctx context.Context, schemas *schemas, t verify.Topic) ([]explained, error) {
	if a.c.row != "" {
		newest, err := schemas.newest(ctx, t.Name)
		if err != nil {
			return nil, err
		}
		if newest == nil {
			return nil, &change.Problem{Kind: change.Retry, What: "the registry has no schema of " + t.Name + "-value", Mend: "is it the registry that the source writes to?"}
		}
		row, err := parseRow(newest.Table(), a.c.row)
		if err != nil {
			return nil, &change.Problem{Kind: change.Configuration, What: "--row is no row of " + newest.Table().String(), Err: err, Mend: `want a JSON object of columns: {"id": 1, "note": "text", "price": null}`}
		}
		e := explained{Topic: t.Name, Key: keyOfRow(newest.Table(), row)}
		e.After, err = a.c.explainRow(ctx, t.Source, newest.Table(), row)
		e.fail(err)
		return []explained{e}, nil
	}
	records, err := a.sample(ctx, t)
	if err != nil {
		return nil, err
	}
	d := decoder{schemas: schemas, topic: &topic{name: t.Name, source: t.Source}}
	var all []explained
	for _, r := range records {
		change, err := d.record(ctx, r)
		if err != nil {
			return nil, err
		}
		e := explained{Topic: t.Name, Partition: &r.Partition, Offset: &r.Offset, Op: change.Op.String(), Version: change.Version, Key: make(map[string]string)}
		for i, name := range change.KeyNames {
			e.Key[name] = change.KeyValues[i].String()
		}
		if change.Before != nil && change.Origin.Snapshot != overTheTop {
			e.Before, err = a.c.explainRow(ctx, t.Source, change.Table, change.Before)
		}
		if err == nil && change.After != nil {
			e.After, err = a.c.explainRow(ctx, t.Source, change.Table, change.After)
		}
		e.fail(err)
		all = append(all, e)
	}
	return all, nil
}

// fail notes why a row goes nowhere.
func (e *explained) fail(err error) {
	if err != nil {
		e.Error = err.Error()
	}
}

// sample returns the newest records of a topic that hold rows, over all partitions.
func (a *against) sample(ctx context.Context, t verify.Topic) ([]*kgo.Record, error) {
	ends, starts, err := kafka.StableEnds(ctx, a.client, t.Name)
	if err != nil {
		return nil, err
	}
	from := slices.Clone(starts)
	for i := range from {
		from[i] = max(starts[i], ends[i]-int64(sampleReach*a.c.samples))
	}
	var records []*kgo.Record
	err = kafka.RecordsBetween(ctx, a.client, t.Name, t.ID, from, ends, func(r *kgo.Record) error {
		if r.Value != nil {
			records = append(records, r)
		}
		return nil
	})
	if err != nil {
		return nil, kafka.Explain(err, "read", t.Name)
	}
	slices.SortStableFunc(records, func(a, b *kgo.Record) int { return a.Timestamp.Compare(b.Timestamp) })
	return records[max(0, len(records)-a.c.samples):], nil
}

// explainRow goes the way of a row: each table of the target, the shape there, and the places.
func (c *command) explainRow(ctx context.Context, source string, t *change.Table, row []change.Value) ([]explainedTable, error) {
	viewer, ok := c.target.(sink.Viewer)
	var views []sink.View
	if ok {
		var err error
		if views, err = viewer.Views(ctx, source, t); err != nil {
			return nil, err
		}
	}
	if len(views) == 0 {
		e := explainedTable{Table: t.String()}
		return []explainedTable{e}, c.explainPlaces(&e, source, t, row)
	}
	var all []explainedTable
	for _, v := range views {
		e := explainedTable{Table: v.Table.String(), Steps: v.Explain(row)}
		shaped, there, err := v.Row(row)
		if err == nil && there {
			err = c.explainPlaces(&e, source, v.Table, shaped)
		}
		if all = append(all, e); err != nil {
			return all, err
		}
	}
	return all, nil
}

// explainPlaces asks the target where a row of one of its tables belongs.
func (c *command) explainPlaces(e *explainedTable, source string, t *change.Table, row []change.Value) error {
	if x, ok := sink.Ability[sink.Explainer](c.target); ok {
		steps, err := x.Explain(source, t, row)
		e.Steps = append(e.Steps, steps...)
		if err != nil {
			return err
		}
	}
	rows := []sink.Row{{Columns: columnNames(t), Values: row}}
	if shaper, ok := sink.Ability[sink.Shaper](c.target); ok {
		var err error
		if rows, err = shaper.Shape(source, t, row, nil); err != nil {
			return err
		}
	}
	for i := range rows {
		p := explainedPlace{Shard: rows[i].Shard, Key: keyOfRow(t, row), Columns: make(map[string]*string)}
		for j, name := range rows[i].Columns {
			if v := rows[i].Values[j]; !v.IsNull() {
				text := sayValue(v)
				p.Columns[name] = &text
			} else {
				p.Columns[name] = nil
			}
		}
		e.Places = append(e.Places, p)
	}
	return nil
}

func columnNames(t *change.Table) []string {
	names := make([]string, len(t.Columns))
	for i := range t.Columns {
		names[i] = t.Columns[i].Name
	}
	return names
}

func keyOfRow(t *change.Table, row []change.Value) map[string]string {
	key := make(map[string]string)
	for _, c := range t.Key {
		key[t.Columns[c].Name] = sayValue(row[c])
	}
	return key
}

func sayValue(v change.Value) string {
	if v.Kind == change.Raw {
		return "0x" + hex.EncodeToString(v.Bytes)
	}
	return v.String()
}

// print shows a row for people.
func (e *explained) print(c *command) {
	head := e.Topic + "  " + sayMap(e.Key)
	if e.Offset != nil {
		head += fmt.Sprintf("  op %s, partition %d offset %d, version %d", e.Op, *e.Partition, *e.Offset, e.Version)
	}
	fmt.Fprintln(c.stdout, head)
	for _, image := range []struct {
		name   string
		tables []explainedTable
	}{{"was", e.Before}, {"is", e.After}} {
		for _, t := range image.tables {
			fmt.Fprintf(c.stdout, "  %-3s %s\n", image.name, t.Table)
			for _, step := range t.Steps {
				fmt.Fprintln(c.stdout, "        "+step)
			}
			for _, p := range t.Places {
				where := "at the target"
				if p.Shard != "" {
					where = "in " + p.Shard
				}
				columns := make(map[string]string)
				for name, v := range p.Columns {
					if columns[name] = "NULL"; v != nil {
						columns[name] = strconv.Quote(*v)
					}
				}
				fmt.Fprintf(c.stdout, "      → %s: key %s; %s\n", where, sayMap(p.Key), sayMap(columns))
			}
		}
	}
	if e.Error != "" {
		fmt.Fprintln(c.stdout, "  ✗ "+strings.ReplaceAll(e.Error, "\n", "\n    "))
	}
}

func sayMap(m map[string]string) string {
	parts := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, name+"="+m[name])
	}
	return strings.Join(parts, " ")
}

// parseRow reads a row that a person has written, as a JSON object. Columns that are left out are NULL.
func parseRow(t *change.Table, text string) ([]change.Value, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return nil, fmt.Errorf("no JSON object: %w", err)
	}
	row := make([]change.Value, len(t.Columns))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		i := t.Column(name)
		if i < 0 {
			return nil, fmt.Errorf("there is no column %q (%s)", name, strings.Join(columnNames(t), ", "))
		}
		var err error
		switch v := object[name].(type) {
		case nil:
		case string:
			row[i], err = parseValue(&t.Columns[i], v)
		case json.Number:
			row[i], err = parseValue(&t.Columns[i], v.String())
		default:
			err = fmt.Errorf("want text, a number or null")
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", name, err)
		}
	}
	for _, k := range t.Key {
		if row[k].IsNull() {
			return nil, fmt.Errorf("column %s is of the key and missing", t.Columns[k].Name)
		}
	}
	return row, nil
}

// parseValue reads a column's value: bytes in hexadecimal after 0x.
func parseValue(c *change.Column, text string) (change.Value, error) {
	switch {
	case c.Type.Integer() && c.Unsigned:
		n, err := strconv.ParseUint(text, 10, 64)
		return change.UintValue(n), err
	case c.Type.Integer(), c.Type == change.Year:
		n, err := strconv.ParseInt(text, 10, 64)
		return change.IntValue(n), err
	case c.Type == change.Float, c.Type == change.Double:
		f, err := strconv.ParseFloat(text, 64)
		if err == nil && (math.IsInf(f, 0) || math.IsNaN(f)) {
			err = fmt.Errorf("%q is no number", text)
		}
		if c.Type == change.Float {
			return change.Float32Value(float32(f)), err
		}
		return change.Float64Value(f), err
	case c.Type == change.Bit:
		n, err := strconv.ParseUint(text, 0, 64)
		size := (c.Length + 7) / 8
		b := make([]byte, size)
		for i := range b {
			b[size-1-i] = byte(n >> (8 * i))
		}
		return change.RawValue(b), err
	case c.Type.Opaque(), c.Type == change.Geometry, c.Type == change.Vector:
		digits, ok := strings.CutPrefix(text, "0x")
		if !ok {
			return change.RawValue([]byte(text)), nil
		}
		b, err := hex.DecodeString(digits)
		return change.RawValue(b), err
	}
	return change.StringValue(text), nil
}
