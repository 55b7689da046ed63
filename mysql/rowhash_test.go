package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/testbed"
)

// hashTables are tables of the same columns: one with other types and collations, one with other charsets too.
var hashTables = map[string]string{
	"plain": `a VARCHAR(20) CHARACTER SET utf8mb4, b VARCHAR(20) CHARACTER SET latin1, b2 VARCHAR(20) CHARACTER SET latin1, c VARBINARY(60), c2 VARBINARY(60), d DOUBLE, d2 DOUBLE NOT NULL, d3 DOUBLE,
		e TIMESTAMP(6) NULL, f DECIMAL(8,2), g ENUM('x','y'), h SET('p','q'), i BIT(4), j JSON, k FLOAT, l INT, m BIGINT NOT NULL,
		n SMALLINT, o INT UNSIGNED NOT NULL, p YEAR, q TIMESTAMP(3) NOT NULL`,
	"other": `a VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, b TEXT CHARACTER SET utf16 COLLATE utf16_unicode_ci, b2 TEXT, c BLOB, c2 LONGBLOB, d DOUBLE, d2 DOUBLE NOT NULL,
		d3 DOUBLE, e TIMESTAMP(6) NULL, f DECIMAL(12,2), g VARCHAR(9), h VARCHAR(9) CHARACTER SET gbk, i BIT(9), j JSON, k DOUBLE, l BIGINT, m BIGINT NOT NULL,
		n INT, o BIGINT NOT NULL, p SMALLINT, q TIMESTAMP(6) NOT NULL`,
	"alike": `a TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, b TEXT CHARACTER SET latin1 COLLATE latin1_bin, b2 TEXT CHARACTER SET latin1, c BLOB, c2 LONGBLOB, d DOUBLE, d2 DOUBLE NOT NULL,
		d3 DOUBLE, e TIMESTAMP(6) NULL, f DECIMAL(12,2), g VARCHAR(9), h VARCHAR(9), i BIT(9), j JSON, k DOUBLE, l BIGINT, m BIGINT NOT NULL,
		n INT, o BIGINT NOT NULL, p SMALLINT, q TIMESTAMP(6) NOT NULL`,
}

var hashColumns = []string{"a", "b", "b2", "c", "c2", "d", "d2", "d3", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"}

// hashBase is a row, and hashRows are what makes others of it: each differs from every other in something delicate.
var hashBase = map[string]string{"a": "'a'", "b": "'b#c'", "b2": "'b'", "c": "x'0102'", "c2": "x'03'", "d": "0e0", "d2": "1.5e0", "d3": "NULL", "e": "'2026-05-06 07:08:09.123456'",
	"f": "1.50", "g": "'x'", "h": "'p,q'", "i": "b'0101'", "j": `'{"k": [1, "x y"]}'`, "k": "0.5e0", "l": "5", "m": "6",
	"n": "7", "o": "8", "p": "2009", "q": "'2026-05-06 07:08:09.123'"}

var hashRows = []string{
	"", "a='a#b' b='c'", "a='a '", "a='A'", "a=''", "a=NULL", "a='b#c' b=NULL", "a=NULL b='b#ca'", "a='b#c' b='a'",
	"c=x'0103'", "c=x'010200'", "c=NULL", "c=x''", "c2=NULL", "c2=x''", "c=x'010203' c2=x''", "c=x'01' c2=x'0203'", "c=x'0102FF03' c2=x''", "c=x'0102FF' c2=x'03'", "c=x'01' c2=x'02FF03'",
	"c=x'0102' c2=x'03FF04'", "c=x'0102FF03' c2=x'04'",
	"c=NULL c2=x'0102FF03'", "c=x'0102FF03' c2=NULL", "c=NULL c2=NULL", "d=-0e0", "d=4.9e-320", "d=NULL", "d2=0e0", "d=1.5e0 d2=0e0", "d=NULL d2=0e0", "d=NULL d3=0e0", "d3=0e0", "d3=-0e0",
	"d=0.1e0", "d=0.10000000000000002e0", "d=1.7976931348623157e308", "e='2026-05-06 07:08:09.123457'", "e=NULL", "e='0000-00-00'", "e='1970-01-01 00:00:01'",
	"e='2038-01-19 03:14:07.999999'", "e='2038-01-19 03:14:07.999998'", "f=1.51", "f=NULL", "g='y'", "g=NULL", "h='p'", "h=''", "h=NULL",
	"i=b'0100'", "i=NULL", "i=NULL l=NULL", "j=NULL", "j='null'", `j='{"k": [1, "x  y"]}'`, `j='{"k": [1.0, "x y"]}'`, "k=0.1e0", "k=0.10000001e0", "k=-0e0", "k=NULL",
	"l=NULL", "l=6", "l=6 m=5", "l=56 m=6", "l=5 m=66", "l=-5", "m=9223372036854775807", "a='é' b='é'", "a='é' b='e'", "a='é' b='e '", "a='\U0001f600'", "b='ÿ' b2='x'", "b='' b2='ÿx'", "b=NULL b2='ÿx'", "b='ÿx' b2=''", "b='ÿ' c=x'01'", "b='' c=x'FF01'", "b=NULL c=x'FF01'", "b='ÿ' c=x''", "b='ÿ' c=NULL", "a='5' b='5'", "a='5' b=NULL",
	"a=NULL b='5'", "a=NULL b=NULL", "a=NULL c=NULL", "b=NULL c=NULL", "a='0'", "a='1'", "l=NULL m=5", "l=0", "f=0", "f=0 l=0", "f=NULL l=NULL", "e=NULL f=NULL", "c=NULL c2=x''", "c=x'' c2=NULL", "c=x'' c2=x''",
	"n=8 o=7", "n=NULL", "n=0", "n=-1", "l=7 n=5", "l=NULL n=NULL", "o=4294967295", "o=0", "p=NULL", "p=0", "p=2155", "q='2026-05-06 07:08:09.124'", "q='0000-00-00'", "q='1970-01-01 00:00:01'",
	"q='2038-01-19 03:14:07.999'", "e='2026-05-06 07:08:09.123' q='2026-05-06 07:08:09.123'", "e=NULL n=NULL p=NULL", "d=7e0 n=8",
}

// hashValues writes the row of the change as a list of literals.
func hashValues(change string) string {
	row := maps.Clone(hashBase)
	for change != "" {
		at := strings.IndexByte(change, '=')
		end := at + 1 + strings.IndexByte(change[at+1:]+" ", ' ')
		for next := end; next < len(change); end = next { // a blank within a literal
			if eq := strings.IndexByte(change[end:], '='); eq >= 0 && slices.Contains(hashColumns, change[end+1:end+eq]) {
				break
			}
			if next = strings.IndexByte(change[end+1:]+" ", ' ') + end + 1; next > len(change) {
				next = len(change)
			}
		}
		row[change[:at]] = change[at+1 : end]
		change = strings.TrimPrefix(change[end:], " ")
	}
	list := make([]string, len(hashColumns))
	for i, c := range hashColumns {
		list[i] = row[c]
	}
	return strings.Join(list, ",")
}

// hashBed is a session as verify has it.
func hashBed(t *testing.T, server *testbed.MySQL) (db *sql.DB, facts *Facts, conn *sql.Conn) {
	db, facts = open(t, server, "app")
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	for _, s := range []string{"DROP DATABASE IF EXISTS rowhash", "CREATE DATABASE rowhash CHARACTER SET utf8mb4", "SET time_zone = '+00:00', sql_mode = ''"} {
		hashExec(t, conn, s)
	}
	return db, facts, conn
}

func hashExec(t *testing.T, conn *sql.Conn, statement string) {
	t.Helper()
	if _, err := conn.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%.200s: %v", statement, err)
	}
}

// loadHashed loads a table without its id, which alone would make rows differ.
func loadHashed(t *testing.T, db *sql.DB, facts *Facts, name string) *change.Table {
	t.Helper()
	table, _, err := LoadTable(context.Background(), db, facts, change.TableName{DB: "rowhash", Name: name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	table.Columns = table.Columns[1:]
	return table
}

func hashStrings(t *testing.T, conn *sql.Conn, query string) (list []string) {
	t.Helper()
	rows, err := conn.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%.300s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		list = append(list, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestRowHash: rows that differ have different hashes, and equal rows the same on every server, in other charsets, collations and types too.
func TestRowHash(t *testing.T) {
	var first [2][]string
	for _, version := range []testbed.MySQLVersion{testbed.MySQL97, testbed.MySQL80} {
		db, facts, conn := hashBed(t, start(t, version))
		tables := map[string]*change.Table{}
		for name, columns := range hashTables {
			hashExec(t, conn, "CREATE TABLE rowhash."+name+" (id INT NOT NULL PRIMARY KEY, "+columns+")")
			for i, row := range hashRows {
				hashExec(t, conn, fmt.Sprintf("INSERT INTO rowhash.%s VALUES (%d, %s)", name, i, hashValues(row)))
			}
			tables[name] = loadHashed(t, db, facts, name)
		}
		for _, name := range []string{"other", "alike"} { // what the FLOAT has kept of it
			hashExec(t, conn, "UPDATE rowhash."+name+" AS o JOIN rowhash.plain AS p ON p.id = o.id SET o.k = p.k")
		}
		for i, charsets := range [][]string{nil, Charsets(tables["plain"].Columns)} {
			for name, table := range tables {
				text, ok := rowText(tables["plain"], table.Columns, charsets)
				if want := name != "other" || charsets == nil; ok != want {
					t.Fatalf("%s: %t in the character sets %v", name, ok, charsets)
				}
				if !ok {
					continue
				}
				hashes := hashStrings(t, conn, "SELECT HEX("+rowHash(text)+") FROM rowhash."+name+" ORDER BY id")
				eachOnce(t, fmt.Sprintf("%s, %s, %v", version, name, charsets), hashes)
				if first[i] == nil {
					first[i] = hashes
				}
				for row := range first[i] {
					if first[i][row] != hashes[row] {
						t.Errorf("%s, %s, %v: (%s) has another hash than elsewhere", version, name, charsets, hashRows[row])
					}
				}
			}
		}
		sumsOfRows(t, conn, tables)
	}
}

// eachOnce: no two of hashRows have one hash.
func eachOnce(t *testing.T, where string, hashes []string) {
	t.Helper()
	for i, hash := range hashes {
		if at := slices.Index(hashes, hash); at < i {
			t.Errorf("%s: (%s) and (%s) have one hash", where, hashRows[at], hashRows[i])
		}
		if len(hash) != 64 {
			t.Fatalf("%s: a hash of %d digits", where, len(hash))
		}
	}
}

// sumsOfRows: the order of rows does not matter, and what one table has more, less or otherwise does, values that are swapped between two
// rows too.
func sumsOfRows(t *testing.T, conn *sql.Conn, tables map[string]*change.Table) {
	sum := func(name, from string) string {
		t.Helper()
		list, ok := RowsHash(tables["plain"], tables[name].Columns, nil)
		if !ok {
			t.Fatal("no list")
		}
		return hashStrings(t, conn, "SELECT CONCAT_WS(' ',"+list+") FROM "+from)[0]
	}
	want := sum("plain", "rowhash.plain")
	if got := sum("other", "(SELECT * FROM rowhash.other ORDER BY id DESC LIMIT 1000) AS o"); got != want {
		t.Errorf("in another order the rows' hash is %s, not %s", got, want)
	}
	if !strings.HasPrefix(want, fmt.Sprintf("%d ", len(hashRows))) {
		t.Errorf("the hash of %d rows: %s", len(hashRows), want)
	}
	if a, b := sum("plain", "rowhash.plain WHERE id < 0"), sum("other", "rowhash.other WHERE id < 0"); a != b || !strings.HasPrefix(a, "0 ") {
		t.Errorf("of no rows: %s and %s", a, b)
	}
	for i, s := range []string{"UPDATE rowhash.other SET l = 10000000000 WHERE l IS NULL", "DELETE FROM rowhash.other WHERE id = 7", "INSERT INTO rowhash.other SELECT -1, " + hashValues("a='more'"),
		"UPDATE rowhash.other SET l = IF(id = 3, 77, 5), m = 6 WHERE id IN (3, 4)", "UPDATE rowhash.other SET l = IF(id = 4, 77, 5) WHERE id IN (3, 4)"} {
		was := sum("other", "rowhash.other")
		hashExec(t, conn, s)
		if is := sum("other", "rowhash.other"); is == was || is == want {
			t.Errorf("statement %d changes nothing: %s", i, is)
		}
	}
}

// TestRowHashOfLongRows: of a row whose text is longer than a packet may be the server makes NULL. It must not count as equal.
func TestRowHashOfLongRows(t *testing.T) {
	server := start(t, testbed.MySQL97)
	db, facts, conn := hashBed(t, server)
	hashExec(t, conn, "SET GLOBAL max_allowed_packet = 1048576") // sessions that begin now have it
	defer hashExec(t, conn, "SET GLOBAL max_allowed_packet = DEFAULT")
	for _, name := range []string{"long_a", "long_b"} {
		hashExec(t, conn, "CREATE TABLE rowhash."+name+" (id INT NOT NULL PRIMARY KEY, a LONGTEXT, b LONGTEXT)")
		hashExec(t, conn, fmt.Sprintf("INSERT INTO rowhash.%s VALUES (1, REPEAT('x', 700000), REPEAT('%s', 700000)), (2, 'a', 'b')", name, name[5:]))
	}
	table := loadHashed(t, db, facts, "long_a")
	list, ok := RowsHash(table, table.Columns, nil)
	if !ok {
		t.Fatal("no list")
	}
	fresh, _ := open(t, server, "app")
	short, err := fresh.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer short.Close()
	var sums []string
	for _, from := range []string{"long_a", "long_b", "long_a"} {
		sums = append(sums, hashStrings(t, short, "SELECT CONCAT_WS(' ',"+list+") FROM rowhash."+from)[0])
	}
	if sums[0] == sums[1] || sums[0] == sums[2] || !strings.HasPrefix(sums[0], "2 ") {
		t.Errorf("rows that are longer than a packet count as equal: %q", sums)
	}
	if a, b := hashStrings(t, short, "SELECT CONCAT_WS(' ',"+list+") FROM rowhash.long_a WHERE id = 2")[0],
		hashStrings(t, short, "SELECT CONCAT_WS(' ',"+list+") FROM rowhash.long_b WHERE id = 2")[0]; a != b {
		t.Errorf("equal rows: %s and %s", a, b)
	}
}

// TestRowsHashRefuses: columns whose text is not the value, on either side.
func TestRowsHashRefuses(t *testing.T) {
	table := func(types ...change.Type) *change.Table {
		t := &change.Table{}
		for i, typ := range types {
			t.Columns = append(t.Columns, change.Column{Name: fmt.Sprint("c", i), Type: typ, Charset: "utf8mb4"})
		}
		return t
	}
	for _, c := range []struct{ source, target change.Type }{
		{change.Geometry, change.Geometry}, {change.Vector, change.Vector}, {change.VarChar, change.VarBinary}, {change.Blob, change.Text},
		{change.JSON, change.LongText}, {change.Double, change.Decimal}, {change.Bit, change.Int},
		{change.Int, change.Decimal}, {change.Year, change.VarChar}, {change.Timestamp, change.DateTime},
	} {
		if list, ok := RowsHash(table(change.Int, c.source), table(change.Int, c.target).Columns, nil); ok {
			t.Errorf("%s and %s: %s", c.source, c.target, list)
		}
	}
}
