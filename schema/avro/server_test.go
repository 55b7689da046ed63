package avro

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	driver "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/charset"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/testbed"
)

// These tests write rows with values at all edges into real servers and read them both ways: from the binlog and by
// SELECT. R10: both ways give the same schema text, the same key bytes and the same value bytes.

// column with its DDL and the SQL literals that go into it, row by row.
type serverColumn struct {
	ddl    string
	values []string
}

// oracle is the SQL that gives the canonical value of a column in another way.
func oracle(c *change.Column) (expression string, isHex bool) {
	name := quoteName(c.Name)
	switch {
	case c.Type == change.Float, c.Type == change.Double, c.Type == change.Vector:
		return "NULL", false
	case c.Type.Opaque(), c.Type == change.Bit, c.Type == change.Geometry:
		return "HEX(" + name + ")", true
	case c.Type == change.Year:
		return name + "+0", false
	case c.Type.Integer():
		return "CAST(" + name + " AS CHAR)", false
	}
	return "CONVERT(" + name + " USING utf8mb4)", false
}

func servers() []testbed.MySQLVersion {
	return []testbed.MySQLVersion{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011}
}

func TestServersGiveTheSameBytesBothWays(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts three servers")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, version := range servers() {
		t.Run(string(version), func(t *testing.T) {
			s := startServer(t, version)
			r := randomRows{rand.New(rand.NewPCG(seed, 0))}
			for name, columns := range serverTables(r, s) {
				t.Run(name, func(t *testing.T) { s.check(t, name, columns) })
			}
		})
	}
}

type server struct {
	*testbed.MySQL
	facts *mysql.Facts
	write *sql.DB // as an application writes
	read  *sql.DB // as the crawl reads
	chars *sql.DB // with results in utf8mb4: the oracle
}

func startServer(t *testing.T, version testbed.MySQLVersion) *server {
	t.Helper()
	m, err := testbed.StartMySQL(t.Context(), testbed.MySQLOptions{Version: version, Flags: []string{"--local-infile=0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Stop() })
	s := &server{MySQL: m}
	open := func(variables map[string]string) *sql.DB {
		db, err := mysql.Open(mysql.Config{Address: m.Address(), User: "root"}, mysql.Options{Variables: variables, MaxConnections: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	s.write = open(map[string]string{"sql_mode": "'ALLOW_INVALID_DATES'", "time_zone": "'+00:00'", "character_set_client": "utf8mb4",
		"character_set_connection": "utf8mb4", "foreign_key_checks": "0"})
	s.read = open(mysql.ReadVariables())
	s.chars = open(map[string]string{"sql_mode": "''", "time_zone": "'+00:00'", "character_set_results": "utf8mb4"})
	if s.facts, err = mysql.ReadFacts(t.Context(), s.read); err != nil {
		t.Fatal(err)
	}
	if _, err := s.write.Exec("CREATE DATABASE way"); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) check(t *testing.T, name string, columns []serverColumn) {
	table := "way." + quoteName(name)
	columns = append([]serverColumn{{ddl: "`id` INT NOT NULL PRIMARY KEY"}}, columns...)
	var ddl []string
	rows := 1
	for _, c := range columns {
		ddl = append(ddl, c.ddl)
		rows = max(rows, len(c.values))
	}
	s.exec(t, "CREATE TABLE "+table+" ("+strings.Join(ddl, ", ")+")")
	file, position := s.position(t)
	s.insert(t, table, columns, rows)
	loaded, _, err := mysql.LoadTable(t.Context(), s.read, s.facts, change.TableName{DB: "way", Name: name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEncoder(loaded, "p.way."+name, schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	images, ofMap := s.images(t, file, position, name, rows)
	if name == onlyTableMap {
		if e, err = NewEncoder(ofMap, "p", schema.Options{}); err != nil {
			t.Fatal(err)
		}
		s.compare(t, e, table, images)
		return
	}
	if fromMap, err := schema.Value(ofMap, "p.way."+name, schema.Options{}); err != nil || fromMap != e.ValueSchema() {
		t.Errorf("schema of TABLE_MAP and of INFORMATION_SCHEMA differ (%v): %q", err, schema.Differences(loaded, ofMap))
	}
	s.compare(t, e, table, images)
}

// insert writes the rows by statements of many rows, so that the binlog has events of many, too.
func (s *server) insert(t *testing.T, table string, columns []serverColumn, rows int) {
	t.Helper()
	names := []string{"`id`"}
	for _, c := range columns[1:] {
		if len(c.values) > 0 { // else it is generated
			names = append(names, "`"+strings.Split(c.ddl, "`")[1]+"`")
		}
	}
	const statement = 50
	var tuples []string
	for i := range rows {
		values := []string{strconv.Itoa(i)}
		for _, c := range columns[1:] {
			if len(c.values) > 0 {
				values = append(values, c.values[i%len(c.values)])
			}
		}
		tuples = append(tuples, "("+strings.Join(values, ", ")+")")
		if len(tuples) == statement || i == rows-1 {
			s.exec(t, "INSERT INTO "+table+" ("+strings.Join(names, ", ")+") VALUES "+strings.Join(tuples, ", "))
			tuples = nil
		}
	}
}

func (s *server) exec(t *testing.T, query string) {
	t.Helper()
	if _, err := s.write.ExecContext(t.Context(), query); err != nil {
		t.Fatalf("%.300s: %v", query, err)
	}
}

func (s *server) position(t *testing.T) (file string, position uint32) {
	t.Helper()
	file, at, _, err := s.facts.BinlogStatus(t.Context(), s.read)
	if err != nil {
		t.Fatal(err)
	}
	return file, uint32(at)
}

// images returns the rows of the table that the binlog has from there on, and the table as TABLE_MAP has it.
func (s *server) images(t *testing.T, file string, position uint32, name string, rows int) ([]Row, *change.Table) {
	t.Helper()
	flavor := driver.MySQLFlavor
	if s.facts.Flavor == gtid.MariaDB {
		flavor = driver.MariaDBFlavor
	}
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: 4711, Flavor: flavor, Host: "127.0.0.1", Port: uint16(s.Port), User: "root", RawModeEnabled: true, VerifyChecksum: false,
		Logger: slog.New(slog.DiscardHandler),
	})
	defer syncer.Close()
	stream, err := syncer.StartSync(driver.Position{Name: file, Pos: position})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var images []Row
	var tm *rowimage.TableMap
	for len(images) < rows {
		event, err := stream.GetEvent(ctx)
		if err != nil {
			t.Fatalf("%d of %d rows: %v", len(images), rows, err)
		}
		const header, checksum = 19, 4
		kind := event.Header.EventType
		switch {
		case kind == replication.TABLE_MAP_EVENT:
			if tm, err = rowimage.ParseTableMap(event.RawData[header:len(event.RawData)-checksum], s.facts.Flavor); err != nil {
				t.Fatal(err)
			}
		case rowimage.IsRows(byte(kind)) && tm.Name.Name == name:
			images = append(images, rowsOf(t, tm, byte(kind), event.RawData[header:len(event.RawData)-checksum])...)
		}
	}
	tm.WrittenBy(s.facts.Version)
	table, err := tm.Table(nil)
	if err != nil {
		t.Fatal(err)
	}
	return images, table
}

func rowsOf(t *testing.T, tm *rowimage.TableMap, kind byte, body []byte) (rows []Row) {
	t.Helper()
	event, err := rowimage.ParseRows(kind, body)
	if err != nil {
		t.Fatal(err)
	}
	for data := event.Data; len(data) > 0; {
		cells := make([]rowimage.Cell, len(tm.Columns))
		if data, err = tm.Image(event.After, data, cells); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, Row{Cells: cells})
	}
	return rows
}

// compare reads the table as the crawl does and holds each row against its image.
func (s *server) compare(t *testing.T, e *Encoder, table string, images []Row) {
	t.Helper()
	texts := s.rows(t, s.read, "SELECT "+strings.Join(e.SelectList(), ", ")+" FROM "+table+" ORDER BY `id`")
	var oracles []string
	var isHex []bool
	for i := range e.Table().Columns {
		expression, hexed := oracle(&e.Table().Columns[i])
		oracles, isHex = append(oracles, expression), append(isHex, hexed)
	}
	expected := s.rows(t, s.chars, "SELECT "+strings.Join(oracles, ", ")+" FROM "+table+" ORDER BY `id`")
	if len(texts) != len(images) {
		t.Fatalf("%d rows by SELECT, %d in the binlog", len(texts), len(images))
	}
	d, err := NewDecoder(e.ValueSchema())
	if err != nil {
		t.Fatal(err)
	}
	var into Decoded
	for i := range texts {
		s.compareRow(t, e, images[i], Row{Text: texts[i]})
		body, err := e.AppendValue(nil, &Event{Op: change.Read, After: Row{Text: texts[i]}})
		if err != nil {
			t.Errorf("row %d: %v", i, err)
			continue
		}
		if err := d.Decode(body, &into); err != nil {
			t.Fatal(err)
		}
		for j := range into.After {
			checkOracle(t, &e.Table().Columns[j], into.After[j], expected[i][j], isHex[j])
		}
	}
}

func checkOracle(t *testing.T, c *change.Column, got change.Value, want []byte, isHex bool) {
	t.Helper()
	if got.IsNull() != (want == nil) && c.Type != change.Float && c.Type != change.Double && c.Type != change.Vector {
		t.Errorf("%s: got %q, the server says %q", c.Name, got, want)
	}
	if want == nil || got.IsNull() {
		return
	}
	text := got.String()
	if isHex {
		text = strings.ToUpper(hex.EncodeToString(got.Bytes))
		if c.Type == change.Bit { // HEX of a number
			text, want = strings.TrimLeft(text, "0"), bytes.TrimLeft(want, "0")
		}
	}
	if c.Type.Integer() || c.Type == change.Decimal { // ZEROFILL
		text, want = strings.TrimLeft(text, "0"), bytes.TrimLeft(want, "0")
	}
	if text != string(want) {
		t.Errorf("%s: got %.200q, the server says %.200q", schema.Describe(c), text, want)
	}
}

func (s *server) compareRow(t *testing.T, e *Encoder, image, text Row) {
	t.Helper()
	ofImage, err1 := e.AppendValue(nil, &Event{Op: change.Read, After: image})
	ofText, err2 := e.AppendValue(nil, &Event{Op: change.Read, After: text})
	keyImage, err3 := e.AppendKey(nil, image)
	keyText, err4 := e.AppendKey(nil, text)
	if err1 == nil && err2 == nil && err3 == nil && err4 == nil && bytes.Equal(ofImage, ofText) && bytes.Equal(keyImage, keyText) {
		return
	}
	for i := range e.value { // which column?
		c := &e.value[i]
		cell, value := image.Cells[c.index], text.Text[c.index]
		if cell.Null && value == nil {
			continue
		}
		a, errA := c.appendCell([]byte{0}, cell.Data)
		b, errB := c.appendText([]byte{0}, value)
		if cell.Null || value == nil || errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: image % x gives % x (%v), text %q gives % x (%v)", schema.Describe(&c.Column), cell.Data, a, errA, value, b, errB)
		}
	}
	t.Errorf("row: %v, %v, %v, %v", err1, err2, err3, err4)
}

// rows reads a query's raw texts; NULL is nil.
func (s *server) rows(t *testing.T, db *sql.DB, query string) (texts [][][]byte) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%.300s: %v", query, err)
	}
	defer rows.Close()
	columns, _ := rows.Columns()
	for rows.Next() {
		raw, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
		for i := range raw {
			into[i] = &raw[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		text := make([][]byte, len(raw))
		for i, b := range raw {
			if b != nil {
				text[i] = append([]byte{}, b...)
			}
		}
		texts = append(texts, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return texts
}

// serverTables are the tables of the test: types by family, with all values at the edges.
func serverTables(r randomRows, s *server) map[string][]serverColumn {
	tables := map[string][]serverColumn{
		"numbers": numberColumns(), "floats": floatColumns(r), "decimals": decimalColumns(r), "times": timeColumns(),
		"bytes": byteColumns(r), "names": nameColumns(), "json": jsonColumns(s), "geometry": geometryColumns(s),
		"odd `name`": oddColumns(s), onlyTableMap: onlyTableMapColumns(),
	}
	if s.Flavor == testbed.MySQL97 {
		tables["vector"] = []serverColumn{{"`v` VECTOR(4)", []string{"TO_VECTOR('[1,-0,3.5e-30]')", "TO_VECTOR('[1,2,3,4]')", "NULL"}}}
	}
	tables["texts"] = s.charsetColumns(r)
	for _, name := range []string{"utf8mb4", "latin1", "ucs2", "gbk"} {
		tables["text_"+name] = textColumns(r, name)
	}
	return tables
}

func (s *server) hasCharset(name string) bool {
	var n int
	err := s.chars.QueryRow("SELECT COUNT(*) FROM INFORMATION_SCHEMA.CHARACTER_SETS WHERE CHARACTER_SET_NAME=?", name).Scan(&n)
	return err == nil && n > 0
}

func numberColumns() (columns []serverColumn) {
	for i, name := range []string{"TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT"} {
		bits := []int{8, 16, 24, 32, 64}[i]
		top := uint64(1)<<(bits-1)<<1 - 1
		signed := []string{"0", "-1", "1", strconv.FormatUint(top>>1, 10), "-" + strconv.FormatUint(top>>1+1, 10), "NULL"}
		unsigned := []string{"0", "1", "42", strconv.FormatUint(top, 10), strconv.FormatUint(top>>1+1, 10), "NULL"}
		columns = append(columns,
			serverColumn{fmt.Sprintf("`s%d` %s", i, name), signed}, serverColumn{fmt.Sprintf("`u%d` %s UNSIGNED", i, name), unsigned},
			serverColumn{fmt.Sprintf("`z%d` %s(4) UNSIGNED ZEROFILL NOT NULL", i, name), unsigned[:5]})
	}
	return append(columns, serverColumn{"`b1` BIT(1)", []string{"b'0'", "b'1'", "NULL"}}, serverColumn{"`b8` BIT(8)", []string{"0", "255", "1"}},
		serverColumn{"`b12` BIT(12)", []string{"0", "4095", "1", "256"}}, serverColumn{"`b64` BIT(64) NOT NULL", []string{"0", "18446744073709551615", "1", "0x0102030405060708"}},
		serverColumn{"`y` YEAR", []string{"0", "1901", "2155", "1970", "NULL"}}, serverColumn{"`flag` BOOLEAN", []string{"TRUE", "FALSE"}})
}

func floatColumns(r randomRows) []serverColumn {
	floats := []string{"0", "-0e0", "1", "-1.5", "3.4028234663852886e38", "-3.4028234663852886e38", "1.1754943508222875e-38",
		"1.401298464324817e-45", "0.1", "16777217", "123456.789", "NULL"}
	doubles := []string{"0", "-0e0", "1.7976931348623157e308", "-1.7976931348623157e308", "2.2250738585072014e-308", "4.9e-324",
		"0.1", "9007199254740993", "1e15", "123456789012345678", "0.30000000000000004", "NULL"}
	for range 300 {
		f := math.Float32frombits(r.Uint32())
		if f == f && !math.IsInf(float64(f), 0) {
			floats = append(floats, strconv.FormatFloat(float64(f), 'e', -1, 64))
		}
		d := math.Float64frombits(r.Uint64())
		if d == d && !math.IsInf(d, 0) {
			doubles = append(doubles, strconv.FormatFloat(d, 'e', -1, 64))
		}
	}
	small := []string{"0", "1.005", "99.995", "-0.015", "12345.678", "0.1"}
	for range 100 {
		small = append(small, strconv.FormatFloat(r.Float64()*99999, 'f', 6, 64))
	}
	unsigned := []string{"0", "1.5", "12.25", "99999.9"}
	return []serverColumn{
		{"`f` FLOAT", floats}, {"`d` DOUBLE", doubles}, {"`f72` FLOAT(7,2)", small}, {"`d103` DOUBLE(10,3)", small}, {"`d205` DOUBLE(20,5)", small},
		{"`uf` FLOAT UNSIGNED", unsigned}, {"`zf` FLOAT ZEROFILL", unsigned}, {"`zd` DOUBLE ZEROFILL NOT NULL", unsigned}, {"`f53` FLOAT(53)", doubles},
	}
}

func decimalColumns(r randomRows) (columns []serverColumn) {
	for i, p := range [][2]int{{10, 0}, {1, 0}, {1, 1}, {5, 2}, {9, 9}, {18, 9}, {19, 0}, {20, 10}, {30, 30}, {38, 19}, {65, 0}, {65, 30}} {
		column := change.Column{Type: change.Decimal, Precision: p[0], Scale: p[1]}
		nines := strings.Repeat("9", p[0]-p[1]) + "." + strings.Repeat("9", p[1])
		values := []string{"0", "'-" + nines + "'", "'" + nines + "'", "NULL", "'-0.0'", "'0." + strings.Repeat("0", max(p[1]-1, 0)) + "1'"}
		for range 40 {
			values = append(values, "'"+r.decimal(&column).canonical.String()+"'")
		}
		columns = append(columns, serverColumn{fmt.Sprintf("`d%d` DECIMAL(%d,%d)", i, p[0], p[1]), values})
	}
	return append(columns, serverColumn{"`z` DECIMAL(12,3) UNSIGNED ZEROFILL", []string{"0", "1.5", "123456789.999"}})
}

func timeColumns() []serverColumn {
	columns := []serverColumn{{"`date` DATE", []string{"'0000-00-00'", "'1000-01-01'", "'9999-12-31'", "'2024-02-29'", "'2024-02-31'",
		"'2024-00-00'", "'2024-05-00'", "'0000-01-01'", "'0001-01-01'", "'1969-12-31'", "'1970-01-01'", "'1582-10-10'", "NULL"}}}
	for fsp := range 7 {
		columns = append(columns,
			serverColumn{fmt.Sprintf("`t%d` TIME(%d)", fsp, fsp), []string{"'00:00:00'", "'-00:00:00.5'", "'-00:00:01'", "'838:59:59'", "'-838:59:59'",
				"'23:59:59.999999'", "'-12:34:56.000001'", "'-12:34:56.99'", "'-00:00:00.000001'", "'100:00:00.123456'", "'-99:59:59.9999'", "NULL"}},
			serverColumn{fmt.Sprintf("`dt%d` DATETIME(%d)", fsp, fsp), []string{"'0000-00-00 00:00:00'", "'9999-12-31 23:59:59'", "'1000-01-01 00:00:00'",
				"'2024-02-29 12:34:56.789012'", "'2024-02-31 12:34:56.5'", "'2024-00-00 01:02:03.000001'", "'1969-12-31 23:59:59.9'", "'0000-01-01 00:00:01'", "NULL"}},
			serverColumn{fmt.Sprintf("`ts%d` TIMESTAMP(%d) NULL", fsp, fsp), []string{"'0000-00-00 00:00:00'", "'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'",
				"'2018-06-20 13:37:03.123456'", "'2000-02-29 00:00:00.000001'", "'2024-12-31 23:59:59.1'", "NULL"}})
	}
	return columns
}

func byteColumns(r randomRows) []serverColumn {
	hexes := []string{"''", "x'00'", "x'0000'", "x'6100'", "x'20'", "x'002000'", "x'ff'", "x'0a0d5c27'", "NULL"}
	for range 30 {
		hexes = append(hexes, "x'"+hex.EncodeToString(r.bytes(r.IntN(16)))+"'")
	}
	large := append([]string{"REPEAT('x', 70000)", "REPEAT(x'00', 300)"}, hexes...)
	return []serverColumn{
		{"`b0` BINARY(0)", []string{"''", "NULL"}}, {"`b16` BINARY(16)", hexes}, {"`b255` BINARY(255) NOT NULL", hexes[:8]}, {"`vb` VARBINARY(300)", hexes},
		{"`tb` TINYBLOB", hexes}, {"`b` BLOB", hexes}, {"`mb` MEDIUMBLOB", large}, {"`lb` LONGBLOB", large}, {"`vb0` VARBINARY(0)", []string{"''"}},
	}
}

// onlyTableMap is the table with names of ENUM and SET that INFORMATION_SCHEMA doesn't tell: its COLUMN_TYPE is in
// utf8mb3, so that characters past U+FFFF are question marks there.
const onlyTableMap = "names_of_table_map"

func onlyTableMapColumns() []serverColumn {
	return []serverColumn{
		{"`e` ENUM('😀','x','back\\\\slash\\n') CHARACTER SET utf8mb4", []string{"1", "2", "3", "0", "NULL"}},
		{"`s` SET('😀','日','x') CHARACTER SET utf16", []string{"0", "1", "2", "3", "7", "NULL"}},
	}
}

func nameColumns() (columns []serverColumn) {
	var many, sixtyFour []string
	for i := range 300 {
		many = append(many, fmt.Sprintf("'name %d'", i))
	}
	for i := range 64 {
		sixtyFour = append(sixtyFour, fmt.Sprintf("'n%d'", i))
	}
	columns = []serverColumn{
		{"`many` ENUM(" + strings.Join(many, ",") + ")", []string{"1", "255", "256", "300", "0", "NULL"}},
		{"`s64` SET(" + strings.Join(sixtyFour, ",") + ")", []string{"0", "1", "18446744073709551615", "9223372036854775808", "NULL"}},
		{"`s9` SET('a','b','c','d','e','f','g','h','i') NOT NULL", []string{"''", "'a,i'", "511", "256"}},
		{"`s3` SET('a','b','c','d','e','f','g','h','i','j','k','l','m','n','o','p','q')", []string{"''", "'a,i'", "131071", "65536"}},
		{"`quoted` ENUM('it''s','a,b','say \"x\"','', 'trail  ') NOT NULL", []string{"1", "2", "3", "4", "5", "0"}},
	}
	for _, charset := range []string{"latin1", "utf8mb4", "utf8mb3", "ucs2", "utf16", "utf32", "gbk", "sjis", "big5", "euckr", "cp1250", "greek"} {
		e, s := "'Größe','x','é'", "'ä','ö','x'"
		switch charset {
		case "utf8mb4", "utf16", "utf32":
			e, s = "'Ω','日本','x'", "'Ω','日','x'"
		case "utf8mb3", "ucs2", "gbk", "sjis", "big5", "euckr":
			e, s = "'日本','x','三'", "'日','三','x'"
		case "greek":
			e, s = "'αβγ','x','ω'", "'α','β','x'"
		case "cp1250":
			e, s = "'žluť','x','ý'", "'ž','ý','x'"
		}
		columns = append(columns,
			serverColumn{fmt.Sprintf("`e_%s` ENUM(%s) CHARACTER SET %s", charset, e, charset), []string{"1", "2", "3", "0", "NULL"}},
			serverColumn{fmt.Sprintf("`s_%s` SET(%s) CHARACTER SET %s", charset, s, charset), []string{"0", "1", "2", "3", "7", "NULL"}})
	}
	return columns
}

// charsetColumns are two columns of each charset that the server has.
func (s *server) charsetColumns(r randomRows) (columns []serverColumn) {
	names := charset.Names()
	slices.Sort(names)
	for _, name := range names {
		if name != "binary" && s.hasCharset(name) {
			values := textValues(r, name)
			columns = append(columns, serverColumn{fmt.Sprintf("`c_%s` CHAR(40) CHARACTER SET %s", name, name), values},
				serverColumn{fmt.Sprintf("`t_%s` TEXT CHARACTER SET %s", name, name), values})
		}
	}
	return columns
}

func textValues(r randomRows, charset string) []string {
	values := []string{"''", "'a'", "'trailing  '", "' '", "NULL", "'tab\\tnew\\nline\\0zero\\\\'"}
	for range 60 {
		_, utf := r.chars(charset, 40)
		values = append(values, mysql.QuoteString(utf))
	}
	return values
}

func textColumns(r randomRows, charset string) []serverColumn {
	values := textValues(r, charset)
	set := " CHARACTER SET " + charset
	return []serverColumn{
		{"`c` CHAR(60)" + set, values}, {"`v` VARCHAR(60)" + set + " NOT NULL", append(values[:4:4], values[5:]...)}, {"`v300` VARCHAR(300)" + set, values}, {"`tt` TINYTEXT" + set, values},
		{"`t` TEXT" + set, values}, {"`mt` MEDIUMTEXT" + set, append(values, "REPEAT('ab', 40000)")}, {"`lt` LONGTEXT" + set, values}, {"`c255` CHAR(255)" + set, values},
		{"`c0` CHAR(0)" + set, []string{"''", "NULL"}},
	}
}

func jsonColumns(s *server) []serverColumn {
	values := []string{"NULL", "'null'", "'true'", "'{}'", "'[]'", "'\"\"'", "'0'", "'-1'", "'18446744073709551615'", "'-9223372036854775808'", "'1.5'", "'1e100'",
		"'1.0'", "'[1, 2,3 , {\"b\":1,\"a\":[]}]'", `'{"ключ":"значение","k\\\\\\"":"\\u0001\\n\\t"}'`, "'\"😀\"'", "'-0.0'", "'0.1'", "'1e-7'", "'123456789012345680000'"}
	if s.Flavor != testbed.MariaDB1011 {
		values = append(values, "CAST(1.50 AS JSON)", "CAST(CAST('2024-02-03 04:05:06.789' AS DATETIME(3)) AS JSON)", "CAST(CAST('-12:34:56' AS TIME) AS JSON)",
			"CAST(CAST('2024-02-03' AS DATE) AS JSON)", "JSON_OBJECT('d', CAST(12345678901234567890.123 AS DECIMAL(30,3)))", "CAST(x'00ff' AS JSON)",
			"JSON_ARRAY(1e0, 1e15, 1e16, 1e17, 123456789012345678, 0.3)", "JSON_ARRAY(CAST(b'101' AS JSON))", "JSON_OBJECT('long', REPEAT('x', 70000), 'b', 2)",
			"JSON_ARRAY(CAST(ST_GeomFromText('POINT(1 2)') AS JSON))")
	}
	return []serverColumn{{"`j` JSON", values}, {"`note` VARCHAR(10)", []string{"'x'"}}}
}

func geometryColumns(s *server) []serverColumn {
	all := []string{"ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('LINESTRING(0 0,1 1,2 2)')", "ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')",
		"ST_GeomFromText('MULTIPOINT(0 0,1 1)')", "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1))')", "ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')",
		"ST_GeomFromText('POINT(10 20)', 4326)", "NULL"}
	return []serverColumn{
		{"`g` GEOMETRY", all}, {"`p` POINT NOT NULL", []string{"ST_GeomFromText('POINT(-0.0 1e300)')", "ST_GeomFromText('POINT(1 2)', 3857)"}},
		{"`l` LINESTRING", []string{"ST_GeomFromText('LINESTRING(0 0,1 1)')"}}, {"`mp` MULTIPOLYGON", []string{"NULL"}},
	}
}

// oddColumns are columns that SELECT * leaves out or the server computes, and names that Avro does not take.
func oddColumns(s *server) []serverColumn {
	columns := []serverColumn{
		{"`first name` VARCHAR(20)", []string{"'Ada'", "NULL"}}, {"`2nd` INT", []string{"7"}}, {"`größe` INT", []string{"8"}},
		{"`a` INT", []string{"1", "2"}}, {"`virtual` INT AS (`a`*2) VIRTUAL", nil}, {"`stored` INT AS (`a`*3) STORED", nil},
	}
	if s.Flavor != testbed.MySQL80 {
		columns = append(columns, serverColumn{"`hidden` INT INVISIBLE", []string{"5", "NULL"}})
	}
	return columns
}
