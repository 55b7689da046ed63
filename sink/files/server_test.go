package files_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/files"
	"github.com/sluice-cdc/sluice/sink/sinktest"
	"github.com/sluice-cdc/sluice/testbed"
)

// shared is one server for all tests, started at its first use.
var shared struct {
	once           sync.Once
	server         *testbed.S3
	missed, failed error
	places         int
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func s3Server(t testing.TB) *testbed.S3 {
	t.Helper()
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if shared.missed = testbed.Available(ctx, "s3proxy"); shared.missed == nil {
			shared.server, shared.failed = testbed.StartS3(ctx, testbed.S3Options{Buckets: []string{"history"}})
		}
	})
	if shared.missed != nil {
		t.Skipf("no S3 to test with: %v", shared.missed)
	}
	if shared.failed != nil {
		t.Fatal(shared.failed)
	}
	return shared.server
}

// inBucket is a config with a prefix of its own.
func inBucket(t testing.TB, c files.Config) files.Config {
	s := s3Server(t)
	shared.places++
	c.Path = fmt.Sprintf("s3://history/test %d", shared.places)
	c.S3.Endpoint, c.S3.AccessKey, c.S3.SecretKey = s.URL(), testbed.S3AccessKey, testbed.S3SecretKey
	c.Spool = t.TempDir()
	return c
}

func TestSuiteOnS3(t *testing.T) {
	s3Server(t)
	sinktest.Run(t, sinktest.Options{Histories: 2, Timeout: time.Minute, New: func(t testing.TB, _ sinktest.Spec) func() sink.Target {
		c := inBucket(t, files.Default())
		c.RollSize = 20 << 10
		return func() sink.Target { return openAt(t, c) }
	}})
}

// owner is a target that owns one partition.
type owner struct {
	t      testing.TB
	target *files.Target
	part   sink.Partition
	epoch  int64
	at     int64
}

func own(t testing.TB, target *files.Target, table *change.Table) *owner {
	o := &owner{t: t, target: target, part: sink.Partition{Source: "src", Topic: "src." + table.String(), TopicID: [16]byte{7}, Count: 1}}
	if err := target.Prepare(t.Context(), "g", "src", []*change.Table{table}); err != nil {
		t.Fatal(change.Explain(err))
	}
	o.assign()
	return o
}

func (o *owner) assign() {
	o.t.Helper()
	next, epoch, found, err := o.target.Assign(o.t.Context(), "g", o.part)
	if err != nil {
		o.t.Fatal(change.Explain(err))
	}
	if o.epoch, o.at = epoch, 0; found {
		o.at = next
	}
}

// try applies the next batch.
func (o *owner) try(changes ...sink.Change) error {
	b := &sink.Batch{Group: "g", Partition: o.part, From: o.at, Next: o.at + int64(len(changes)), Epoch: o.epoch, Changes: changes, ThroughMillis: time.Now().UnixMilli()}
	for i := range changes {
		changes[i].Offset = o.at + int64(i)
	}
	err := o.target.Apply(o.t.Context(), b)
	if err == nil {
		o.at = b.Next
	}
	return err
}

func (o *owner) apply(changes ...sink.Change) {
	o.t.Helper()
	if err := o.try(changes...); err != nil {
		o.t.Fatal(change.Explain(err))
	}
}

// put is a row that is there since now.
func put(table *change.Table, row ...change.Value) sink.Change {
	c := sink.Change{Op: change.Create, Table: table, KeyNames: table.KeyNames(), Key: []byte(row[0].String()), After: row, TrustedBefore: true,
		Version: change.Version(time.Now().UnixMicro()), AppendMillis: time.Now().UnixMilli(), Bytes: 100}
	for _, k := range table.Key {
		c.KeyValues = append(c.KeyValues, row[k])
	}
	c.Origin = sink.Origin{Snapshot: "false", CommitMillis: time.Now().UnixMilli(), GTID: "uuid:1", File: "binlog.1", Pos: 4}
	return c
}

// TestServerGoesAway: what is applied while the storage is killed and started again is there once, in order.
func TestServerGoesAway(t *testing.T) {
	s := s3Server(t)
	c := inBucket(t, files.Default())
	c.RollTime, c.Timeout = 0, 2*time.Second
	table := &change.Table{TableName: change.TableName{DB: "shop", Name: "orders"}, Columns: []change.Column{{Name: "id", Type: change.BigInt}}, Key: []int{0}}
	o := own(t, openAt(t, c), table)
	failed := 0
	for i := int64(0); i < 12; i++ {
		if i == 4 {
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		for tries := 0; ; tries++ {
			err := o.try(put(table, change.IntValue(i)))
			if err == nil {
				break
			}
			var lost *sink.OwnershipLost
			switch failed++; {
			case errors.As(err, &lost):
				o.assign()
				if o.at > i {
					tries = -1
				}
			case change.SeverityOf(err) != change.Retry || tries > 20:
				t.Fatal(change.Explain(err))
			case tries == 1:
				if err := s.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if tries < 0 {
				break
			}
		}
	}
	if failed == 0 {
		t.Error("nothing failed: the test shows nothing")
	}
	seen := make(map[int64]int)
	if err := o.target.Scan(t.Context(), sink.Scan{Source: "src", Table: table}, func(r sink.Row) error {
		seen[r.Values[0].Int()]++
		return nil
	}); err != nil {
		t.Fatal(change.Explain(err))
	}
	if len(seen) != 12 {
		t.Errorf("there are %v, want 12 rows", seen)
	}
}

// TestWrongAccount: what the storage refuses names what to look at, in doctor too.
func TestWrongAccount(t *testing.T) {
	c := inBucket(t, files.Default())
	good := openAt(t, c)
	if found, err := good.Check(t.Context(), "g", nil); err != nil || len(found) != 1 || found[0].Level != sink.Good {
		t.Errorf("doctor says %+v (%v)", found, err)
	}
	for _, bend := range []func(c *files.Config){func(c *files.Config) { c.S3.SecretKey = "wrong" }, func(c *files.Config) { c.Path = "s3://nothere/x" }} {
		wrong := c
		bend(&wrong)
		target := openAt(t, wrong)
		err := target.Prepare(t.Context(), "g", "src", nil)
		if change.SeverityOf(err) != change.Configuration || !strings.Contains(change.Explain(err), "files.s3") {
			t.Errorf("got %s", change.Explain(err))
		}
		if found, err := target.Check(t.Context(), "g", nil); err != nil || len(found) != 1 || found[0].Level != sink.Wrong || found[0].Mend == "" {
			t.Errorf("doctor says %+v (%v)", found, err)
		}
	}
}

// TestAnotherGroup: files are one group's alone.
func TestAnotherGroup(t *testing.T) {
	c := files.Default()
	c.Path = t.TempDir()
	if err := openAt(t, c).Prepare(t.Context(), "g", "src", nil); err != nil {
		t.Fatal(err)
	}
	err := openAt(t, c).Prepare(t.Context(), "other", "src", nil)
	if change.SeverityOf(err) != change.Configuration || !strings.Contains(change.Explain(err), "files.path") {
		t.Errorf("another group gave %v", err)
	}
	found, err := openAt(t, c).Check(t.Context(), "other", nil)
	if err != nil || found[len(found)-1].Level != sink.Wrong {
		t.Errorf("doctor says %+v (%v)", found, err)
	}
}

// TestZeroDate refuses the record, whose batch leaves nothing behind; with dates as text it is kept.
func TestZeroDate(t *testing.T) {
	table := &change.Table{TableName: change.TableName{DB: "shop", Name: "t"}, Key: []int{0},
		Columns: []change.Column{{Name: "id", Type: change.BigInt}, {Name: "d", Type: change.Date}}}
	rows := func() []sink.Change {
		return []sink.Change{put(table, change.IntValue(1), change.StringValue("2024-02-29")), put(table, change.IntValue(2), change.StringValue("0000-00-00"))}
	}
	c := files.Default()
	c.Path = t.TempDir()
	o := own(t, openAt(t, c), table)
	var refused *sink.Refused
	err := o.try(rows()...)
	if !errors.As(err, &refused) || refused.Offset != 1 || change.SeverityOf(err) != change.Poison || !strings.Contains(change.Explain(err), "files.dates: text") {
		t.Errorf("a zero date gave %v", err)
	}
	c.Path, c.Dates = t.TempDir(), files.Text
	own(t, openAt(t, c), table).apply(rows()...)
}

// query runs SQL in an engine that knows nothing of us, and returns the rows as text; "NULL" is NULL.
func query(t testing.TB, engine, sql string) [][]string {
	t.Helper()
	if err := testbed.Available(t.Context(), engine); err != nil {
		t.Skip(err)
	}
	cmd, err := testbed.Python(t.Context(), engine, filepath.Join("testdata", "query.py"), engine)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(sql), &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", engine, err, sql, errs.String())
	}
	var rows [][]string
	d := json.NewDecoder(&out)
	d.UseNumber()
	for d.More() {
		var row []any
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		text := make([]string, len(row))
		for i, v := range row {
			if text[i] = fmt.Sprint(v); v == nil {
				text[i] = "NULL"
			}
		}
		rows = append(rows, text)
	}
	return rows
}

// engineType is a column with values, and how an engine says them as text.
type engineType struct {
	column       change.Column
	duck, house  string // SQL that makes text of %s
	typeDuck     string // what DuckDB takes the column for
	values, said []string
}

var engineTypes = []engineType{
	{change.Column{Name: "tiny", Type: change.TinyInt}, "%s", "toString(%s)", "TINYINT", []string{"-128", "127"}, nil},
	{change.Column{Name: "medium", Type: change.MediumInt, Unsigned: true}, "%s", "toString(%s)", "UINTEGER", []string{"0", "16777215"}, nil},
	{change.Column{Name: "big", Type: change.BigInt}, "%s", "toString(%s)", "BIGINT", []string{"-9223372036854775808", "9223372036854775807"}, nil},
	{change.Column{Name: "ubig", Type: change.BigInt, Unsigned: true}, "%s", "toString(%s)", "UBIGINT", []string{"0", "18446744073709551615"}, nil},
	{change.Column{Name: "d9", Type: change.Decimal, Precision: 9, Scale: 4}, "%s::VARCHAR", "toDecimalString(%s, 4)", "DECIMAL(9,4)", []string{"-99999.9999", "0.0001"}, nil},
	{change.Column{Name: "d18", Type: change.Decimal, Precision: 18, Scale: 2}, "%s::VARCHAR", "toDecimalString(%s, 2)", "DECIMAL(18,2)", []string{"-9999999999999999.99", "0.01"}, nil},
	{change.Column{Name: "d38", Type: change.Decimal, Precision: 38, Scale: 10}, "%s::VARCHAR", "toDecimalString(%s, 10)", "DECIMAL(38,10)",
		[]string{"-9999999999999999999999999999.9999999999", "0.0000000001"}, nil},
	{change.Column{Name: "d65", Type: change.Decimal, Precision: 65, Scale: 30}, "%s", "toString(%s)", "VARCHAR", []string{"-99999999999999999999999999999999999.999999999999999999999999999999", "0.000000000000000000000000000000"}, nil},
	{change.Column{Name: "f", Type: change.Float}, "%s", "toString(%s)", "FLOAT", []string{"0.5", "-1.25"}, nil},
	{change.Column{Name: "dd", Type: change.Double}, "%s::VARCHAR", "toString(%s)", "DOUBLE", []string{"0.1", "-1.7976931348623157e308"}, []string{"0.1", "-1.7976931348623157e+308"}},
	{change.Column{Name: "bits", Type: change.Bit, Length: 64}, "%s", "toString(%s)", "UBIGINT", []string{"\x00\x00\x00\x00\x00\x00\x00\x05", "\xff\xff\xff\xff\xff\xff\xff\xff"}, []string{"5", "18446744073709551615"}},
	{change.Column{Name: "year_", Type: change.Year}, "%s", "toString(%s)", "SMALLINT", []string{"0", "2155"}, nil},
	{change.Column{Name: "day_", Type: change.Date}, "strftime(%s, '%%Y-%%m-%%d')", "toString(%s)", "DATE", []string{"1971-02-03", "2024-02-29"}, nil},
	{change.Column{Name: "span_", Type: change.Time, Scale: 6}, "%s", "toString(%s)", "BIGINT", []string{"-838:59:59.000000", "00:00:00.000001"}, []string{"-3020399000000", "1"}},
	{change.Column{Name: "local_", Type: change.DateTime, Scale: 6}, "%s::VARCHAR", "toString(%s, 'UTC')", "TIMESTAMP", []string{"2024-03-31 02:30:00.123456", "1971-01-01 00:00:00.000001"}, nil},
	{change.Column{Name: "stamp", Type: change.Timestamp, Scale: 6}, "(%s AT TIME ZONE 'UTC')::VARCHAR", "toString(%s, 'UTC')", "TIMESTAMP WITH TIME ZONE", []string{"2038-01-19 03:14:07.999999", "1970-01-01 00:00:01.000001"}, nil},
	{change.Column{Name: "text_", Type: change.LongText}, "%s", "%s", "VARCHAR", []string{"", "'\"\\\n é漢😀 %;"}, nil},
	{change.Column{Name: "choice", Type: change.Enum, Elements: []string{"a", "é"}}, "%s", "%s", "VARCHAR", []string{"a", "é"}, nil},
	{change.Column{Name: "doc", Type: change.JSON}, "%s::VARCHAR", "toString(%s)", "VARCHAR", []string{`{"k": [1, 2.5, null]}`, `"x"`}, nil},
	{change.Column{Name: "raw_", Type: change.LongBlob}, "lower(hex(%s))", "lower(hex(%s))", "BLOB", []string{"", "\x00\xff'\\"}, nil},
	{change.Column{Name: "place", Type: change.Geometry, Geometry: "point"}, "lower(hex(%s))", "lower(hex(%s))", "BLOB", []string{"\x00\x00\x00\x00\x01\x01", "\x01"}, nil},
}

// value makes a value of its text.
func (e *engineType) value(text string) change.Value {
	switch c := &e.column; {
	case c.Type.Integer() && c.Unsigned:
		n, _ := strconv.ParseUint(text, 10, 64)
		return change.UintValue(n)
	case c.Type.Integer() || c.Type == change.Year:
		n, _ := strconv.ParseInt(text, 10, 64)
		return change.IntValue(n)
	case c.Type == change.Float:
		f, _ := strconv.ParseFloat(text, 32)
		return change.Float32Value(float32(f))
	case c.Type == change.Double:
		f, _ := strconv.ParseFloat(text, 64)
		return change.Float64Value(f)
	case c.Type == change.Bit || c.Type.Opaque() || c.Type == change.Geometry:
		return change.RawValue([]byte(text))
	}
	return change.StringValue(text)
}

func (e *engineType) want(i int) string {
	switch {
	case e.said != nil:
		return e.said[i]
	case e.column.Type.Opaque() || e.column.Type == change.Geometry:
		return hex.EncodeToString([]byte(e.values[i]))
	}
	return e.values[i]
}

// TestEnginesReadEveryType has DuckDB and chDB read what was written, from files of two schemas: every value, NULL, a deleted row, and
// the columns that say what happened.
func TestEnginesReadEveryType(t *testing.T) {
	c := files.Default()
	c.Path, c.RollTime = t.TempDir(), 0
	table := &change.Table{TableName: change.TableName{DB: "shop", Name: "every type"}, Columns: []change.Column{{Name: "id", Type: change.BigInt}}, Key: []int{0}}
	for i := range engineTypes {
		engineTypes[i].column.Nullable = true
		table.Columns = append(table.Columns, engineTypes[i].column)
	}
	wider := *table
	wider.Columns = append(table.Columns[:len(table.Columns):len(table.Columns)], change.Column{Name: "later", Type: change.Int, Nullable: true})
	o := own(t, openAt(t, c), table)
	image := func(table *change.Table, id, i int) []change.Value {
		row := make([]change.Value, len(table.Columns))
		row[0] = change.IntValue(int64(id))
		for n := range engineTypes {
			if i < 2 {
				row[n+1] = engineTypes[n].value(engineTypes[n].values[i])
			}
		}
		return row
	}
	o.apply(put(table, image(table, 0, 0)...), put(table, image(table, 1, 1)...), put(table, image(table, 2, 2)...))
	gone := put(&wider, image(&wider, 3, 1)...)
	o.apply(put(&wider, append(image(table, 3, 1), change.IntValue(42))...))
	gone.Op, gone.Before, gone.After = change.Delete, gone.After, nil
	o.apply(gone)

	path := c.Path + "/table=*/day=*/*.parquet"
	for _, engine := range []string{"duckdb", "chdb"} {
		t.Run(engine, func(t *testing.T) {
			from := fmt.Sprintf("read_parquet('%s', union_by_name = true, hive_partitioning = true)", path)
			own := "SELECT _op, _offset, \"table\", after_later, day = current_date, _commit_time <= now(), key_id FROM " + from
			if engine == "chdb" {
				from = fmt.Sprintf("file('%s', Parquet)", path)
				own = "SELECT _op, _offset, `table`, after_later, toDate(day) = today(), _commit_time <= now64(6), key_id FROM " + from
			}
			exprs := ""
			for i := range engineTypes {
				form := engineTypes[i].duck
				if engine == "chdb" {
					form = engineTypes[i].house
				}
				exprs += fmt.Sprintf(form, "after_"+engineTypes[i].column.Name) + ", " + fmt.Sprintf(form, "before_"+engineTypes[i].column.Name) + ", "
			}
			tail := ""
			if engine == "chdb" {
				tail = " SETTINGS use_hive_partitioning = 1, schema_inference_mode = 'union'"
			}
			rows := query(t, engine, "SELECT "+strings.TrimSuffix(exprs, ", ")+" FROM "+from+" ORDER BY _offset"+tail)
			if len(rows) != 5 {
				t.Fatalf("%d rows, want 5", len(rows))
			}
			for n := range engineTypes {
				for at, want := range []string{engineTypes[n].want(0), engineTypes[n].want(1), "NULL", engineTypes[n].want(1), "NULL"} {
					if got := rows[at][2*n]; !sameText(got, want) {
						t.Errorf("row %d: after %s is %q, want %q", at, engineTypes[n].column.Name, got, want)
					}
				}
				if got := rows[4][2*n+1]; !sameText(got, engineTypes[n].want(1)) {
					t.Errorf("before the delete %s is %q, want %q", engineTypes[n].column.Name, got, engineTypes[n].want(1))
				}
			}
			got := fmt.Sprint(query(t, engine, own+" ORDER BY _offset DESC LIMIT 2"+tail))
			want := "[[d 4 shop.every type NULL true true 3] [c 3 shop.every type 42 true true 3]]"
			if got = strings.NewReplacer(" 1 1 3]", " true true 3]", "%20", " ").Replace(got); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
	t.Run("types", func(t *testing.T) {
		kinds := make(map[string]string)
		for _, row := range query(t, "duckdb", fmt.Sprintf("DESCRIBE SELECT * FROM read_parquet('%s', union_by_name = true)", path)) {
			kinds[row[0]] = row[1]
		}
		for i := range engineTypes {
			if got := kinds["after_"+engineTypes[i].column.Name]; got != engineTypes[i].typeDuck {
				t.Errorf("DuckDB takes %s for %s, want %s", engineTypes[i].column.Name, got, engineTypes[i].typeDuck)
			}
		}
	})
}

// sameText compares; floats are said with and without an exponent's plus.
func sameText(got, want string) bool {
	return got == want || strings.ReplaceAll(got, "e+", "e") == strings.ReplaceAll(want, "e+", "e")
}
