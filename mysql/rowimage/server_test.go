package rowimage_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/testbed"
)

var versions = []testbed.MySQLVersion{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011}

// server is a real server whose binlog files the tests read straight from its folder.
type server struct {
	t      *testing.T
	m      *testbed.MySQL
	conn   *sql.Conn
	flavor gtid.Flavor
}

func startServer(t *testing.T, version testbed.MySQLVersion, flags ...string) *server {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real server; -short leaves it out")
	}
	m, err := testbed.StartMySQL(t.Context(), testbed.MySQLOptions{Version: version, Flags: flags, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	db, err := m.Open("root", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &server{t: t, m: m, conn: conn}
	if version.IsMariaDB() {
		s.flavor = gtid.MariaDB
	}
	s.exec("SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = ''", "CREATE DATABASE d", "USE d")
	return s
}

func (s *server) exec(statements ...string) {
	s.t.Helper()
	for _, statement := range statements {
		if _, err := s.conn.ExecContext(context.Background(), statement); err != nil {
			s.t.Fatalf("%.500s: %v", statement, err)
		}
	}
}

// query gives the rows as text; nil is NULL.
func (s *server) query(query string) [][]*string {
	s.t.Helper()
	rows, err := s.conn.QueryContext(context.Background(), query)
	if err != nil {
		s.t.Fatalf("%.500s: %v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		s.t.Fatal(err)
	}
	var out [][]*string
	for rows.Next() {
		row := make([]*string, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			s.t.Fatal(err)
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		s.t.Fatalf("%.500s: %v", query, err)
	}
	return out
}

// place is where the binlog ends.
func (s *server) place() (file string, offset int64) {
	s.t.Helper()
	statement := "SHOW MASTER STATUS"
	if s.m.Flavor.MySQL9Words() {
		statement = "SHOW BINARY LOG STATUS"
	}
	status := s.query(statement)[0]
	offset, err := strconv.ParseInt(*status[1], 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return *status[0], offset
}

// rawEvent is an event of the binlog file.
type rawEvent struct {
	kind byte
	body []byte // without header and checksum
}

// during runs f and gives the events that it caused; f must not rotate the binlog.
func (s *server) during(f func()) []rawEvent {
	s.t.Helper()
	file, from := s.place()
	f()
	_, to := s.place()
	log, err := os.Open(filepath.Join(s.m.DataDir, file))
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	content := make([]byte, to-from)
	if _, err := log.ReadAt(content, from); err != nil {
		s.t.Fatal(err)
	}
	const header, checksum = 19, 4
	var events []rawEvent
	for len(content) > 0 {
		size := binary.LittleEndian.Uint32(content[9:])
		events = append(events, rawEvent{kind: content[4], body: content[header : size-checksum]})
		content = content[size:]
	}
	return events
}

// rowChange is a row of a rows event, with canonical values.
type rowChange struct {
	op            change.Op
	tm            *rowimage.TableMap
	before, after []change.Value
}

const tableMapEvent = 19

// decode reads all row changes out of events.
func (s *server) decode(events []rawEvent) []rowChange {
	s.t.Helper()
	maps := map[uint64]*rowimage.TableMap{}
	var changes []rowChange
	for _, event := range events {
		if event.kind == tableMapEvent {
			tm, err := rowimage.ParseTableMap(event.body, s.flavor)
			if err != nil {
				s.t.Fatalf("%v\n% x", err, event.body)
			}
			if !tm.Same(event.body) {
				s.t.Error("a table map is not the same as itself")
			}
			tm.WrittenBy(s.m.Version)
			maps[tm.ID] = tm
		}
		if !rowimage.IsRows(event.kind) {
			continue
		}
		rows, err := rowimage.ParseRows(event.kind, event.body)
		if err != nil {
			s.t.Fatal(err)
		}
		changes = append(changes, s.walk(maps[rows.TableID], rows)...)
	}
	return changes
}

func (s *server) walk(tm *rowimage.TableMap, rows *rowimage.RowsEvent) []rowChange {
	s.t.Helper()
	var changes []rowChange
	var err error
	before, after := make([]rowimage.Cell, len(tm.Columns)), make([]rowimage.Cell, len(tm.Columns))
	for data := rows.Data; len(data) > 0; {
		one := rowChange{op: rows.Op, tm: tm}
		if rows.Before != nil {
			if data, err = tm.Image(rows.Before, data, before); err != nil {
				s.t.Fatal(err)
			}
			one.before = s.values(tm, before)
		}
		if rows.After != nil {
			if rows.Partial {
				data, err = tm.AfterPartial(before, rows.After, data, after)
			} else {
				data, err = tm.Image(rows.After, data, after)
			}
			if err != nil {
				s.t.Fatal(err)
			}
			one.after = s.values(tm, after)
		}
		changes = append(changes, one)
	}
	return changes
}

func (s *server) values(tm *rowimage.TableMap, cells []rowimage.Cell) []change.Value {
	s.t.Helper()
	values := make([]change.Value, len(cells))
	for i, cell := range cells {
		v, err := tm.Value(i, cell)
		if err != nil {
			s.t.Errorf("%v: % x", err, cell.Data)
		}
		values[i] = v
	}
	return values
}

// selected gives the table's rows as the server shows them, in canonical form: the server converts text to
// UTF-8, so that it is the judge of the conversions here.
func (s *server) selected(table *change.Table, order string) [][]change.Value {
	s.t.Helper()
	list := make([]string, len(table.Columns))
	for i := range table.Columns {
		list[i] = selectExpression(&table.Columns[i])
	}
	var out [][]change.Value
	for _, row := range s.query("SELECT " + strings.Join(list, ", ") + " FROM `" + table.Name + "` ORDER BY " + order) {
		values := make([]change.Value, len(row))
		for i, text := range row {
			if text != nil {
				values[i] = selectedValue(s.t, &table.Columns[i], *text)
			}
		}
		out = append(out, values)
	}
	return out
}

func selectExpression(c *change.Column) string {
	name := "`" + c.Name + "`"
	switch {
	case c.Type.Character(), c.Type == change.Enum, c.Type == change.Set:
		return "HEX(CONVERT(" + name + " USING utf8mb4))"
	case c.Type.Opaque(), c.Type == change.Geometry, c.Type == change.Vector:
		return "HEX(" + name + ")"
	case c.Type == change.Bit:
		return fmt.Sprintf("LPAD(HEX(%s + 0), %d, '0')", name, (c.Length+7)/8*2)
	case c.Type == change.Float:
		return name + " * 1e0"
	}
	return name
}

func selectedValue(t *testing.T, c *change.Column, text string) change.Value {
	t.Helper()
	var v change.Value
	var err error
	switch {
	case c.Type.Integer() && c.Unsigned:
		var n uint64
		n, err = strconv.ParseUint(text, 10, 64)
		v = change.UintValue(n)
	case c.Type.Integer(), c.Type == change.Year:
		var n int64
		n, err = strconv.ParseInt(text, 10, 64)
		v = change.IntValue(n)
	case c.Type == change.Float, c.Type == change.Double:
		var f float64
		f, err = strconv.ParseFloat(text, 64)
		v = change.Float64Value(f)
		if c.Type == change.Float {
			v = change.Float32Value(float32(f))
		}
	case c.Type.Character(), c.Type == change.Enum, c.Type == change.Set:
		v = change.Value{Kind: change.Str}
		v.Bytes, err = hex.DecodeString(text)
	case c.Type.Opaque(), c.Type == change.Bit, c.Type == change.Geometry, c.Type == change.Vector:
		v = change.Value{Kind: change.Raw}
		v.Bytes, err = hex.DecodeString(text)
	default:
		v = change.StringValue(text)
	}
	if err != nil {
		t.Fatalf("%s: %q: %v", c.Name, text, err)
	}
	return v
}

// equalRow reports each column in which two rows differ.
func equalRow(t *testing.T, what string, table *change.Table, got, want []change.Value) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, the server has %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if !got[i].Equal(want[i]) {
			c := &table.Columns[i]
			t.Errorf("%s, column %s %s %s: %q (% x), the server shows %q (% x)", what, c.Name, c.Type, c.Charset,
				got[i], got[i].Bytes, want[i], want[i].Bytes)
		}
	}
}

// newRandom is a source of random numbers whose seed is printed; SLUICE_SEED runs one again.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SLUICE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed: SLUICE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
