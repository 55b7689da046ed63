package system

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/linkedin/goavro/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// typed is one column with the SQL literals that go into it, row by row and from the front again. A column without values
// is computed by the server.
type typed struct {
	name, ddl string
	values    []string
}

// typedTables are tables that together have every column type, with values at the edges. Each is made twice: <name>_read is
// filled before the source starts, <name>_made while it runs.
func typedTables(charsets [][2]string) map[string][]typed {
	return map[string][]typed{
		"integers": integerColumns(), "bits": bitColumns(), "decimals": decimalColumns(), "floats": floatColumns(), "dates": dateColumns(),
		"times": timeColumns(), "charsets": charsetColumns(charsets), "texts": textColumns(), "bytes": byteColumns(), "names": nameColumns(),
		"documents": documentColumns(), "shapes": shapeColumns(), "odd": oddColumns(),
	}
}

func integerColumns() (columns []typed) {
	for i, kind := range []string{"TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT"} {
		top := ^uint64(0) >> (64 - []int{8, 16, 24, 32, 64}[i])
		text := func(n uint64) string { return strconv.FormatUint(n, 10) }
		columns = append(columns,
			typed{fmt.Sprintf("s%d", i), kind, []string{"0", "-1", text(top >> 1), "-" + text(top>>1+1), "NULL"}},
			typed{fmt.Sprintf("u%d", i), kind + " UNSIGNED", []string{"0", "1", text(top), text(top>>1 + 1), "NULL"}},
			typed{fmt.Sprintf("z%d", i), kind + "(4) UNSIGNED ZEROFILL NOT NULL", []string{"0", "7", text(top)}})
	}
	return append(columns, typed{"flag", "BOOLEAN", []string{"TRUE", "FALSE", "NULL"}}, typed{"y", "YEAR", []string{"0", "1901", "2155", "NULL"}})
}

func bitColumns() (columns []typed) {
	for n := 1; n <= 64; n++ {
		top := ^uint64(0) >> (64 - n)
		columns = append(columns, typed{fmt.Sprintf("b%d", n), fmt.Sprintf("BIT(%d)", n),
			[]string{"0", "1", strconv.FormatUint(top, 10), strconv.FormatUint(top>>1+1, 10), "NULL"}})
	}
	return columns
}

func decimalColumns() (columns []typed) {
	for _, p := range [][2]int{{1, 0}, {1, 1}, {10, 0}, {9, 9}, {18, 9}, {30, 30}, {38, 19}, {65, 0}, {65, 30}} {
		nines := strings.Repeat("9", p[0]-p[1]) + "." + strings.Repeat("9", p[1])
		columns = append(columns, typed{fmt.Sprintf("d%d_%d", p[0], p[1]), fmt.Sprintf("DECIMAL(%d,%d)", p[0], p[1]),
			[]string{"0", nines, "-" + nines, "'-0.0'", "0." + strings.Repeat("0", max(p[1]-1, 0)) + "1", "NULL"}})
	}
	return append(columns, typed{"zero_filled", "DECIMAL(12,3) UNSIGNED ZEROFILL", []string{"0", "1.5", "123456789.999"}})
}

func floatColumns() []typed {
	return []typed{
		{"f", "FLOAT", []string{"0", "-0e0", "3.4028234663852886e38", "-3.4028234663852886e38", "1.1754943508222875e-38", "1.401298464324817e-45",
			"-1.401298464324817e-45", "0.1", "16777217", "123456.789", "NULL"}},
		{"d", "DOUBLE", []string{"0", "-0e0", "1.7976931348623157e308", "-1.7976931348623157e308", "2.2250738585072014e-308", "4.9e-324", "-4.9e-324",
			"0.1", "9007199254740993", "1e15", "0.30000000000000004", "NULL"}},
		{"f72", "FLOAT(7,2)", []string{"0", "1.005", "99999.99", "-0.015"}},
		{"d205", "DOUBLE(20,5)", []string{"0", "1.000005", "99999.99", "-0.015", "123456789012345.12345"}},
		{"positive", "DOUBLE UNSIGNED", []string{"0", "1.5", "1e-300"}},
	}
}

func dateColumns() []typed {
	columns := []typed{{"da", "DATE", []string{"'0000-00-00'", "'1000-01-01'", "'9999-12-31'", "'2024-02-29'", "'2024-02-31'", "'2024-00-00'",
		"'2024-05-00'", "'0000-01-01'", "'0001-01-01'", "'1582-10-10'", "'1969-12-31'", "NULL"}}}
	for fsp := range 7 {
		columns = append(columns,
			typed{fmt.Sprintf("dt%d", fsp), fmt.Sprintf("DATETIME(%d)", fsp), []string{"'0000-00-00 00:00:00'", "'9999-12-31 23:59:59'",
				"'1000-01-01 00:00:00.000001'", "'2024-02-29 12:34:56.789012'", "'2024-02-31 12:34:56.5'", "'2024-00-00 01:02:03.000001'",
				"'1969-12-31 23:59:59.9'", "'0000-01-01 00:00:01'", "NULL"}},
			typed{fmt.Sprintf("ts%d", fsp), fmt.Sprintf("TIMESTAMP(%d) NULL", fsp), []string{"'0000-00-00 00:00:00'", "'1970-01-01 00:00:01'",
				"'2038-01-19 03:14:07'", "'2038-01-19 03:14:06.999999'", "'2018-06-20 13:37:03.123456'", "'2024-10-27 01:30:00.1'", "NULL"}})
	}
	return columns
}

func timeColumns() (columns []typed) {
	for fsp := range 7 {
		columns = append(columns, typed{fmt.Sprintf("t%d", fsp), fmt.Sprintf("TIME(%d)", fsp), []string{"'00:00:00'", "'838:59:59.999999'",
			"'-838:59:59.999999'", "'838:59:58.999999'", "'-838:59:58.999999'", "'-00:00:00.5'", "'-00:00:01'", "'23:59:59.999999'",
			"'-12:34:56.000001'", "'-12:34:56.99'", "'-00:00:00.000001'", "'-99:59:59.9999'", "NULL"}})
	}
	return columns
}

// charsetColumns have a column of each character set that the server knows. What the sample has and the set has not becomes
// a question mark before it is stored.
func charsetColumns(charsets [][2]string) (columns []typed) {
	samples := []string{"'Aé€ßŐЖΩ'", "'日本語 한국 汉字'", "'ｱ ไทย שלום عربي'", "'trail  '", "' \\\\ \\' \\\" \\0 \\n \\Z'", "'😀𠜎'", "''", "NULL"}
	for _, c := range charsets {
		columns = append(columns, typed{"c_" + c[0], "VARCHAR(24) CHARACTER SET " + c[0] + " COLLATE " + c[1], samples})
	}
	return append(columns,
		typed{"fixed", "CHAR(12) CHARACTER SET utf8mb4", samples[:4]}, typed{"fixed_wide", "CHAR(24) CHARACTER SET ucs2", samples[:3]},
		typed{"cs", "VARCHAR(24) COLLATE utf8mb4_0900_as_cs", samples}, typed{"ja", "CHAR(24) COLLATE utf8mb4_ja_0900_as_cs_ks", samples})
}

func textColumns() (columns []typed) {
	for i, kind := range []string{"TINY", "", "MEDIUM", "LONG"} {
		values := []string{"''", "'x  '", "REPEAT('é', 127)", "NULL", "'😀 \\\\ \\' \\0'"}
		if i > 0 {
			values = append(values, "REPEAT('日', 21845)", "REPEAT('x', 65535)")
		}
		if i > 1 {
			values = append(values, "REPEAT('日本', 60000)")
		}
		columns = append(columns, typed{fmt.Sprintf("t%d", i), kind + "TEXT CHARACTER SET utf8mb4", values},
			typed{fmt.Sprintf("l%d", i), kind + "TEXT CHARACTER SET latin1", []string{"'é'", "REPEAT('é', 255)", "''"}})
	}
	return columns
}

func byteColumns() []typed {
	values := []string{"''", "x'00'", "x'0000'", "x'6100'", "x'20'", "x'002000'", "x'ff'", "x'0a0d5c271a'", "x'0102030405060708090a0b0c0d0e0f00'", "NULL"}
	large := append([]string{"REPEAT(x'ff00', 35000)", "REPEAT(x'00', 300)"}, values...)
	return []typed{
		{"b0", "BINARY(0)", []string{"''", "NULL"}}, {"b16", "BINARY(16)", values}, {"b255", "BINARY(255)", values}, {"vb", "VARBINARY(300)", values},
		{"vb0", "VARBINARY(0)", []string{"''", "NULL"}}, {"tb", "TINYBLOB", values}, {"bl", "BLOB", append([]string{"REPEAT(x'80', 65535)"}, values...)},
		{"mb", "MEDIUMBLOB", large}, {"lb", "LONGBLOB", large},
	}
}

func nameColumns() (columns []typed) {
	var many, sixtyFour []string
	for i := range 300 {
		many = append(many, fmt.Sprintf("'name %d'", i))
	}
	for i := range 64 {
		sixtyFour = append(sixtyFour, fmt.Sprintf("'n%d'", i))
	}
	return []typed{
		{"many", "ENUM(" + strings.Join(many, ",") + ")", []string{"1", "255", "256", "300", "0", "NULL"}},
		{"many_of_set", "SET(" + strings.Join(sixtyFour, ",") + ")", []string{"0", "1", "18446744073709551615", "9223372036854775808", "NULL"}},
		{"quoted", "ENUM('it''s','a,b','say \"x\"','','back\\\\slash') NOT NULL", []string{"1", "2", "3", "4", "5", "0"}},
		{"latin", "ENUM('Größe','x','é') CHARACTER SET latin1", []string{"1", "2", "3", "NULL"}},
		{"wide", "SET('日','三','x') CHARACTER SET gbk", []string{"0", "1", "6", "7"}},
	}
}

func documentColumns() []typed {
	return []typed{{"j", "JSON", []string{"NULL", "'null'", "'true'", "'{}'", "'[]'", "'\"\"'", "'0'", "'-1'", "'18446744073709551615'",
		"'-9223372036854775808'", "'1.5'", "'1e100'", "'1.0'", "'-0.0'", "'1e-7'", "'123456789012345680000'", "'[1, 2,3 , {\"b\":1,\"a\":[]}]'",
		`'{"ключ":"значение","k\\\\\\"":"\\u0001\\n\\t", "😀": "\\ud83d\\ude00"}'`,
		"CAST(CAST('2024-02-03 04:05:06.789' AS DATETIME(3)) AS JSON)", "CAST(CAST('-12:34:56' AS TIME) AS JSON)", "CAST(CAST('2024-02-03' AS DATE) AS JSON)",
		"CAST(1.50 AS JSON)", "JSON_OBJECT('d', CAST(12345678901234567890.123 AS DECIMAL(30,3)), 'e', JSON_ARRAY(0.10, -7.000))",
		"JSON_ARRAY(1e0, 1e15, 1e16, 1e17, 123456789012345678, 0.3)", "CAST(x'00ff' AS JSON)", "JSON_OBJECT('long', REPEAT('x', 70000), 'b', 2)",
		"CAST(b'101' AS JSON)", "CAST(ST_GeomFromText('POINT(1 2)') AS JSON)"}}}
}

func shapeColumns() []typed {
	shape := func(text string, srid int) string { return fmt.Sprintf("ST_GeomFromText('%s', %d)", text, srid) }
	kinds := []struct{ name, kind, text string }{
		{"po", "POINT", "POINT(1 2)"}, {"li", "LINESTRING", "LINESTRING(0 0,1 1,2 2)"}, {"pg", "POLYGON", "POLYGON((0 0,1 0,1 1,0 0))"},
		{"mp", "MULTIPOINT", "MULTIPOINT(0 0,1 1)"}, {"ml", "MULTILINESTRING", "MULTILINESTRING((0 0,1 1),(2 2,3 3))"},
		{"mg", "MULTIPOLYGON", "MULTIPOLYGON(((0 0,1 0,1 1,0 0)))"}, {"gc", "GEOMETRYCOLLECTION", "GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))"},
	}
	any := []string{"ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')", "ST_GeomFromText('POINT(-0.0 1e300)')", "NULL"}
	var columns []typed
	for _, k := range kinds {
		values := []string{shape(k.text, 0), shape(k.text, 4326), shape(k.text, 3857), "NULL"}
		columns = append(columns, typed{k.name, k.kind, values})
		any = append(any, values...)
	}
	return append(columns, typed{"ge", "GEOMETRY", any}, typed{"fixed", "POINT SRID 4326", []string{shape("POINT(10 20)", 4326), "NULL"}})
}

func oddColumns() []typed {
	return []typed{
		{"first name", "VARCHAR(20)", []string{"'Ada'", "NULL"}}, {"2nd", "INT", []string{"7"}}, {"größe", "INT", []string{"8"}}, {"select", "INT", []string{"9"}},
		{"a", "INT", []string{"1", "2", "NULL"}}, {"virtual", "INT AS (a*2) VIRTUAL", nil}, {"stored", "VARCHAR(20) AS (CONCAT(a, '!')) STORED", nil},
		{"hidden", "INT INVISIBLE", []string{"5", "NULL"}}, {"hidden_default", "VARCHAR(9) NOT NULL DEFAULT 'dflt' INVISIBLE", []string{"DEFAULT", "'other'"}},
		{"v1", "VECTOR(1)", []string{"TO_VECTOR('[1.5]')", "NULL"}}, {"v4", "VECTOR(4)", []string{"TO_VECTOR('[1,-0,3.5e-30,3.4e38]')", "TO_VECTOR('[0,0,0,1.17549435e-38]')", "NULL"}},
		{"v3", "VECTOR", []string{"TO_VECTOR('[1,2,3]')", "TO_VECTOR('[1]')"}},
	}
}

// keylessTable gets its key from the server: sql_generate_invisible_primary_key.
const keylessTable = "keyless"

// createTyped returns the statement that makes the table.
func createTyped(table string, columns []typed) string {
	lines := []string{"id INT NOT NULL PRIMARY KEY"}
	for _, c := range columns {
		lines = append(lines, "`"+c.name+"` "+c.ddl)
	}
	return "CREATE TABLE shop." + table + " (" + strings.Join(lines, ", ") + ")"
}

// fillTyped returns the statement that fills it: as many rows as the longest column has values.
func fillTyped(table string, columns []typed) string {
	names, rows := []string{"id"}, 0
	for _, c := range columns {
		if rows = max(rows, len(c.values)); c.values != nil {
			names = append(names, "`"+c.name+"`")
		}
	}
	tuples := make([]string, rows)
	for i := range tuples {
		values := []string{strconv.Itoa(i)}
		for _, c := range columns {
			if c.values != nil {
				values = append(values, c.values[i%len(c.values)])
			}
		}
		tuples[i] = "(" + strings.Join(values, ",") + ")"
	}
	return "INSERT INTO shop." + table + " (" + strings.Join(names, ",") + ") VALUES " + strings.Join(tuples, ",")
}

// typedBed makes the tables on a new server, fills the halves that the crawl reads, and returns the names of the pairs.
func typedBed(b *bed) (m *testbed.MySQL, db *sql.DB, fill func(half string), pairs []string) {
	b.t.Helper()
	m, db = b.mysql(testbed.MySQLOptions{})
	db.SetMaxOpenConns(1) // the settings are the session's
	exec1(b.t, db, "CREATE DATABASE shop", "SET SESSION sql_mode='ALLOW_INVALID_DATES', time_zone='+00:00', sql_generate_invisible_primary_key=ON")
	tables := typedTables(charsetsOf(b.t, db))
	for name, columns := range tables {
		exec1(b.t, db, createTyped(name+"_read", columns), createTyped(name+"_made", columns))
		pairs = append(pairs, name)
	}
	for _, half := range []string{"_read", "_made"} {
		exec1(b.t, db, "CREATE TABLE shop."+keylessTable+half+" (a INT, b VARCHAR(9))")
	}
	fill = func(half string) {
		b.t.Helper()
		for name, columns := range tables {
			exec1(b.t, db, fillTyped(name+half, columns))
		}
		exec1(b.t, db, "INSERT INTO shop."+keylessTable+half+" VALUES (1, 'x'), (1, 'x'), (NULL, NULL)")
	}
	fill("_read")
	return m, db, fill, append(pairs, keylessTable)
}

// charsetsOf returns the server's character sets with their default collations.
func charsetsOf(t testing.TB, db *sql.DB) (list [][2]string) {
	t.Helper()
	rows, err := db.Query("SELECT CHARACTER_SET_NAME, DEFAULT_COLLATE_NAME FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME <> 'binary' ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var c [2]string
		if err := rows.Scan(&c[0], &c[1]); err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestEveryType sends each column type at its edges through the whole way. The row that the crawl reads and the row that the
// binlog brings must be the same Avro bytes, key and value (R10), and the shard's rows the source's, byte for byte.
func TestEveryType(t *testing.T) {
	b := newBed(t)
	m, db, fill, pairs := typedBed(b)
	shard, target := b.mysql(testbed.MySQLOptions{})
	exec1(t, target, "CREATE DATABASE shop")
	config := b.sourceConfig(m, "")
	b.source(m, "")
	b.settled(config, time.Minute)
	fill("_made")
	b.settled(config, time.Minute)
	rows := 0
	for _, name := range pairs {
		read, made := b.images(name+"_read", "r"), b.images(name+"_made", "c")
		if len(read) == 0 || len(read) != len(made) {
			t.Errorf("%s: %d rows crawled, %d streamed", name, len(read), len(made))
		}
		for key, image := range read {
			if !bytes.Equal(made[key].body, image.body) {
				t.Errorf("%s: the same row in two ways:\n  crawled  %v\n  streamed %v", name, image.differing(made[key]), made[key].differing(image))
			}
		}
		rows += len(read)
	}
	t.Logf("%d tables, %d rows: crawled and streamed bytes are the same", len(pairs), rows)

	b.start("shard", "sluice-sink-mysql", "", []string{"--config", b.oneShardConfig("types", shard, "")})
	for _, name := range pairs {
		for _, half := range []string{"_read", "_made"} {
			b.equal(db, target, name+half)
		}
	}
}

// oneShardConfig writes the page of a sink that keeps a whole copy.
func (b *bed) oneShardConfig(group string, shard *testbed.MySQL, more string) string {
	return b.file(group+".yaml", fmt.Sprintf(`group: %s
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.*"]
session_timeout: 6s
retry_stopped: 1s
mysql:
  create_tables: true
  shards:
    - {name: s0, address: %q, user: app, password: app, database: shop}
%s`, group, b.broker, b.registry, shard.Address(), more))
}

// equal waits until the table at the target is the source's, byte for byte.
func (b *bed) equal(source, target *sql.DB, table string) {
	b.t.Helper()
	var c *rig.Comparison
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		c, err = rig.Compare(b.t.Context(), rig.Place{Name: "source", DB: source, Database: "shop"}, []rig.Place{{Name: "target", DB: target, Database: "shop"}}, table)
		if err == nil && c.Differences == 0 {
			return
		}
	}
	if err != nil {
		b.t.Errorf("%s: %v", table, err)
		return
	}
	b.t.Errorf("%s: %d rows at the source, %d at the target, %d differ", table, c.Source, c.Targets[0], c.Differences)
	for _, d := range c.Examples {
		b.t.Errorf("  %s", clipDifference(d))
	}
}

// clipDifference shows what is around the first byte in which the two sides differ.
func clipDifference(d rig.Difference) string {
	source, target := d.Source, strings.TrimPrefix(d.Target, "target: ")
	at := 0
	for at < len(source) && at < len(target) && source[at] == target[at] {
		at++
	}
	around := func(s string) string { return s[min(max(at-60, 0), len(s)):min(at+60, len(s))] }
	return fmt.Sprintf("key %q, byte %d:\n    source %q\n    target %q", d.Key, at, around(source), around(target))
}

// image is a row's after image as it stands in the topic.
type image struct {
	body   []byte
	fields map[string]any
}

// differing returns the fields in which two images differ.
func (i image) differing(other image) map[string]any {
	out := map[string]any{}
	for name, v := range i.fields {
		if fmt.Sprint(v) != fmt.Sprint(other.fields[name]) {
			out[name] = v
		}
	}
	return out
}

// images reads a table's topic to its end: the bytes of each record's after image, by the bytes of its key. All records must
// be of the kind given, with no before.
func (b *bed) images(table, op string) map[string]image {
	b.t.Helper()
	client, err := registry.New(registry.Options{URL: b.registry})
	if err != nil {
		b.t.Fatal(err)
	}
	images, codecs := map[string]image{}, map[int]*rowCodec{}
	b.eachRecord(table, func(r *kgo.Record) {
		_, key, err := registry.ReadFrame(r.Key)
		if err != nil {
			b.t.Fatal(err)
		}
		id, body, err := registry.ReadFrame(r.Value)
		if err != nil {
			b.t.Fatal(err)
		}
		if codecs[id] == nil {
			text, err := client.Schema(b.t.Context(), id)
			if err != nil {
				b.t.Fatal(err)
			}
			codecs[id] = newRowCodec(b.t, text)
		}
		i, kind, err := codecs[id].after(body)
		if err != nil || kind != op {
			b.t.Fatalf("%s offset %d: op %q, want %q (%v)", r.Topic, r.Offset, kind, op, err)
		}
		if _, twice := images[string(key)]; twice {
			b.t.Errorf("%s: key %x came twice", r.Topic, key)
		}
		images[string(key)] = i
	})
	return images
}

// eachRecord gives every record of a table's topic, in the order of each partition.
func (b *bed) eachRecord(table string, each func(*kgo.Record)) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	topic := kafka.TopicName("shop", change.TableName{DB: "shop", Name: table})
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	if err != nil {
		b.t.Fatal(err)
	}
	left := 0
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left++
		}
	})
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			b.t.Fatalf("read %s: %v", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if end, _ := ends.Lookup(topic, r.Partition); r.Offset+1 == end.Offset {
				left--
			}
			if !r.Attrs.IsControl() {
				each(r)
			}
		})
	}
}

// rowCodec is goavro over a value schema and over the row's part of it: where the part ends in the bytes is said by another
// library than ours.
type rowCodec struct{ row, whole *goavro.Codec }

func newRowCodec(t testing.TB, valueSchema string) *rowCodec {
	t.Helper()
	var envelope struct {
		Fields []struct {
			Name string
			Type json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(valueSchema), &envelope); err != nil {
		t.Fatal(err)
	}
	if envelope.Fields[0].Name != "before" || envelope.Fields[1].Name != "after" {
		t.Fatalf("the envelope begins with %s, %s", envelope.Fields[0].Name, envelope.Fields[1].Name)
	}
	c := &rowCodec{}
	var err error
	if c.row, err = goavro.NewCodec(string(envelope.Fields[0].Type)); err != nil {
		t.Fatal(err)
	}
	if c.whole, err = goavro.NewCodec(valueSchema); err != nil {
		t.Fatal(err)
	}
	return c
}

// after returns the bytes of the after image and the event's kind.
func (c *rowCodec) after(body []byte) (i image, op string, err error) {
	whole, rest, err := c.whole.NativeFromBinary(body)
	if err != nil {
		return i, "", err
	}
	if len(rest) > 0 {
		return i, "", fmt.Errorf("%d bytes follow the envelope", len(rest))
	}
	envelope := whole.(map[string]any)
	if envelope["before"] != nil || envelope["after"] == nil {
		return i, "", fmt.Errorf("before %v, after %v", envelope["before"], envelope["after"])
	}
	_, rest, err = c.row.NativeFromBinary(body[1:])
	i.body = body[1 : len(body)-len(rest)]
	for _, row := range envelope["after"].(map[string]any) {
		i.fields = row.(map[string]any)
	}
	return i, envelope["op"].(string), err
}

// TestSpellingOfKeys changes keys in a way that the table's collation does not see, and by which the bytes differ all the
// same: the target must end with the source's spelling.
func TestSpellingOfKeys(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	shard, target := b.mysql(testbed.MySQLOptions{})
	exec1(t, target, "CREATE DATABASE shop")
	exec1(t, db, "CREATE DATABASE shop",
		"CREATE TABLE shop.cased (k VARCHAR(20) COLLATE utf8mb4_0900_ai_ci PRIMARY KEY, n INT)",
		"CREATE TABLE shop.padded (k VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY, n INT)",
		"CREATE TABLE shop.latin (k VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_german2_ci, i INT, n INT, PRIMARY KEY (i, k))",
		"INSERT INTO shop.cased VALUES ('a', 1), ('straße', 1), ('e', 1), ('moved', 1), ('swap', 1), ('z', 1)",
		"INSERT INTO shop.padded VALUES ('a', 1), ('b  ', 1), ('c', 1)",
		"INSERT INTO shop.latin VALUES ('Müller', 1, 1), ('straße', 1, 1), ('b', 2, 1)")
	config := b.sourceConfig(m, "")
	b.source(m, "")
	b.start("shard", "sluice-sink-mysql", "", []string{"--config", b.oneShardConfig("spelling", shard, "")})
	tables := []string{"cased", "padded", "latin"}
	for _, table := range tables {
		b.equal(db, target, table)
	}
	exec1(t, db,
		"UPDATE shop.cased SET k = 'A' WHERE k = 'a'",
		"UPDATE shop.cased SET k = 'STRASSE', n = 2 WHERE k = 'straße'",
		"UPDATE shop.cased SET k = 'é' WHERE k = 'e'", "UPDATE shop.cased SET k = 'E', n = 3 WHERE k = 'e'",
		"UPDATE shop.cased SET k = 'elsewhere' WHERE k = 'moved'", "UPDATE shop.cased SET k = 'MOVED' WHERE k = 'elsewhere'",
		"REPLACE INTO shop.cased VALUES ('SWAP', 2)",
		"DELETE FROM shop.cased WHERE k = 'z'", "INSERT INTO shop.cased VALUES ('Z', 2)",
		"UPDATE shop.padded SET k = 'a  ' WHERE k = 'a'", "UPDATE shop.padded SET k = 'C ', n = 2 WHERE k = 'c'",
		"INSERT INTO shop.padded VALUES ('b', 9) ON DUPLICATE KEY UPDATE k = VALUES(k), n = 9",
		"UPDATE shop.latin SET k = 'Mueller' WHERE k = 'Müller'",
		"UPDATE shop.latin SET k = 'STRASSE' WHERE k = 'strasse' AND i = 1",
		"UPDATE shop.latin SET k = 'B ', i = 2 WHERE k = 'b'")
	b.settled(config, time.Minute)
	for _, table := range tables {
		b.equal(db, target, table)
	}
}
