package binlog

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/testbed"
)

// everyColumn has all types with all that a Column tells of them; servers that do not know one leave it out.
func everyColumn(version testbed.MySQLVersion) []string {
	columns := []string{
		"id BIGINT UNSIGNED NOT NULL", "a TINYINT", "b TINYINT UNSIGNED NOT NULL DEFAULT 1", "c SMALLINT(5) UNSIGNED ZEROFILL",
		"d MEDIUMINT", "e INT NOT NULL", "f BIGINT", "g BOOL", "h DECIMAL(20,5) UNSIGNED", "i DECIMAL", "j DECIMAL(65,30)",
		"k FLOAT", "l FLOAT UNSIGNED", "m DOUBLE", "n DOUBLE(10,2) UNSIGNED", "o BIT", "p BIT(17)", "q YEAR", "r DATE",
		"s TIME", "t TIME(3)", "u DATETIME", "v DATETIME(6) NOT NULL", "w TIMESTAMP NULL", "x TIMESTAMP(1) NOT NULL DEFAULT CURRENT_TIMESTAMP(1)",
		"ca CHAR(0)", "cb CHAR(10)", "cc CHAR(255) CHARACTER SET latin1", "cd CHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
		"ce VARCHAR(10) CHARACTER SET ucs2", "cf VARCHAR(1000) CHARACTER SET utf8", "cg VARCHAR(300) CHARACTER SET gbk",
		"ch BINARY(16)", "ci VARBINARY(300)", "cj CHAR(20) CHARACTER SET binary", "ck CHAR(255) CHARACTER SET utf8mb4", "cl BINARY", "cm BINARY(255)",
		"cn VARCHAR(5) CHARACTER SET utf16le", "co CHAR(200) CHARACTER SET utf32",
		"ta TINYTEXT", "tb TEXT CHARACTER SET latin2 COLLATE latin2_czech_cs", "tc MEDIUMTEXT", "td LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
		"te TEXT(10)", "tf TEXT(70000)", "ba TINYBLOB", "bb BLOB", "bc MEDIUMBLOB", "bd LONGBLOB",
		"ea ENUM('a','B','it''s','c,d','é','x\\\\y','l\\nf','日本') CHARACTER SET utf8mb4", "eb ENUM('é','ü') CHARACTER SET latin1 NOT NULL",
		"sa SET('x','y','ü)','z''') CHARACTER SET utf8mb4", "ja JSON",
		"ga GEOMETRY", "gb POINT", "gc LINESTRING", "gd POLYGON", "ge MULTIPOINT", "gf MULTILINESTRING", "gg MULTIPOLYGON", "gh GEOMETRYCOLLECTION",
		"`UPPER Name-é` INT", "va INT AS (e + 1) VIRTUAL", "vb INT AS (e + 2) STORED", "vc VARCHAR(20) AS (CONCAT(e, 'x')) VIRTUAL",
	}
	switch version {
	case testbed.MySQL97:
		columns = append(columns, "ia INT INVISIBLE", "vx VECTOR(3)", "vy VECTOR", "gs POINT SRID 4326")
	case testbed.MariaDB1011:
		columns = append(columns, "ia INT INVISIBLE", "nc CHAR(3) COLLATE utf8mb4_nopad_bin", "ua CHAR(7) CHARACTER SET utf8mb4 COLLATE uca1400_ai_ci",
			"ub VARCHAR(7) CHARACTER SET utf8mb4 COLLATE uca1400_german2_as_cs")
	}
	return columns
}

// mapped returns the table as the binlog's TABLE_MAP describes it: a row is written for that.
func (s *server) mapped(table string, key []string, insert string) *change.Table {
	s.t.Helper()
	from, offset, executed, err := s.facts.BinlogStatus(s.t.Context(), s.db)
	if err != nil {
		s.t.Fatal(err)
	}
	s.session("SET sql_mode = ''", insert)
	for _, e := range s.read(s.config(), From{GTID: executed, File: from, Offset: offset}) {
		if e.Kind == Rows && e.Table.Name == table {
			mapped, err := e.TableMap.Table(key)
			if err != nil {
				s.t.Fatal(err)
			}
			return mapped
		}
	}
	s.t.Fatalf("no rows of %s", table)
	return nil
}

// TestSchemasAgree reads tables from INFORMATION_SCHEMA and from TABLE_MAP: R10 asks for the same.
func TestSchemasAgree(t *testing.T) {
	for _, version := range []testbed.MySQLVersion{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011} {
		t.Run(string(version), func(t *testing.T) {
			s := start(t, version)
			create := "CREATE TABLE every ("
			for _, column := range everyColumn(version) {
				create += column + ", "
			}
			functional := ""
			if version == testbed.MySQL97 { // 8.0.15 has a column for it in the binlog: CheckTable refuses that
				functional = ", KEY ((a + 1))"
			}
			s.session("SET sql_mode = '', NAMES utf8mb4", create+"PRIMARY KEY (id), UNIQUE u (e, b))",
				"CREATE TABLE composite (a INT, b VARCHAR(20), c INT, PRIMARY KEY (c, b(5), a)"+functional+")")
			for _, c := range []struct {
				table, insert string
				key           []string
			}{
				{"every", "INSERT INTO every (id, e) VALUES (1, 1)", nil},
				{"every", "INSERT INTO every (id, e) VALUES (2, 2)", []string{"b", "e"}},
				{"composite", "INSERT INTO composite VALUES (1, 'x', 2)", nil},
			} {
				name := change.TableName{DB: s.name, Name: c.table}
				loaded, _, err := mysql.LoadTable(t.Context(), s.db, s.facts, name, c.key)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(loaded, s.mapped(c.table, c.key, c.insert)); diff != "" {
					t.Errorf("%s %v: INFORMATION_SCHEMA -, TABLE_MAP +\n%s", c.table, c.key, diff)
				}
			}
		})
	}
}

// TestGeneratedKey is a table without a primary key of its own on a server that makes one.
func TestGeneratedKey(t *testing.T) {
	s := start(t, testbed.MySQL97)
	s.session("SET sql_generate_invisible_primary_key = ON", "CREATE TABLE g (a INT)")
	hidden := *s.facts
	hidden.HiddenKeys = true
	for _, facts := range []*mysql.Facts{s.facts, &hidden} {
		loaded, extras, err := mysql.LoadTable(t.Context(), s.db, facts, change.TableName{DB: s.name, Name: "g"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(loaded, s.mapped("g", nil, "INSERT INTO g (a) VALUES (1)")); diff != "" {
			t.Errorf("INFORMATION_SCHEMA -, TABLE_MAP +\n%s", diff)
		}
		if got := fmt.Sprint(loaded.KeyNames(), extras.Invisible, extras.AutoIncrement); got != "[my_row_id] [true false] 0" {
			t.Errorf("got %s", got)
		}
	}
}
