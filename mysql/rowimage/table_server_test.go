package rowimage_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/charset"
	"github.com/sluice-cdc/sluice/testbed"
)

// table writes one row into the table and gives what its TABLE_MAP says.
func (s *server) table(name, insert string, key []string) *change.Table {
	s.t.Helper()
	changes := s.decode(s.during(func() { s.exec(insert) }))
	if len(changes) != 1 {
		s.t.Fatalf("%s: %d rows in the binlog", insert, len(changes))
	}
	table, err := changes[0].tm.Table(key)
	if err != nil {
		s.t.Fatal(err)
	}
	if again, err := changes[0].tm.Table(key); err != nil || again != table {
		s.t.Errorf("%s: the second answer is another table, %v", name, err)
	}
	return table
}

// TestTableEqualsInformationSchema wants the same change.Table from TABLE_MAP and from INFORMATION_SCHEMA, for
// columns of all types and sets and for all kinds of keys.
func TestTableEqualsInformationSchema(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			s := startServer(t, version)
			facts, err := mysql.ReadFacts(t.Context(), s.conn)
			if err != nil {
				t.Fatal(err)
			}
			for i, definition := range tableDefinitions(version) {
				name := fmt.Sprintf("t%d", i)
				s.exec("CREATE TABLE " + name + " " + definition.columns)
				if definition.alter != "" {
					s.exec("ALTER TABLE " + name + " " + definition.alter)
				}
				insert := definition.insert
				if insert == "" {
					insert = "() VALUES ()"
				}
				got := s.table(name, "INSERT INTO "+name+" "+insert, definition.key)
				want, _, err := mysql.LoadTable(t.Context(), s.conn, facts, change.TableName{DB: "d", Name: name}, definition.key)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%.300s\nINFORMATION_SCHEMA (-) and TABLE_MAP (+) differ:\n%s", definition.columns, diff)
				}
			}
		})
	}
}

type tableDefinition struct {
	columns, insert string
	alter           string // after CREATE TABLE
	key             []string
}

func tableDefinitions(version testbed.MySQLVersion) []tableDefinition {
	var all []string
	for i, k := range kindsFor(version, columnKinds()) {
		all = append(all, fmt.Sprintf("c%d %s NULL", i, k.definition))
	}
	definitions := []tableDefinition{
		{columns: "(" + strings.Join(all, ", ") + ")"},
		{columns: "(" + strings.Join(setColumns(version), ", ") + ")"},
		{columns: "(a INT, b INT NOT NULL, c VARCHAR(10) NOT NULL, PRIMARY KEY (c, b))", insert: "VALUES (1, 2, 'x')"},
		{columns: "(a INT, b TEXT NOT NULL, c VARCHAR(100) NOT NULL, PRIMARY KEY (c(10), b(20), a))", insert: "VALUES (1, 'b', 'x')"},
		{columns: "(a INT, b INT NOT NULL, c INT NOT NULL, UNIQUE (c, b))", insert: "VALUES (1, 2, 3)", key: []string{"b", "C"}},
		{columns: "(a INT UNSIGNED PRIMARY KEY, g1 INT AS (a + 1) STORED, g2 INT AS (a + 2) VIRTUAL, b INT)", insert: "(a) VALUES (1)"},
		{columns: "(a INT PRIMARY KEY, `sp ace` INT, `über` INT, `q``uote` INT, `COLUMN` INT)", insert: "(a) VALUES (1)"},
		{columns: "(a INT PRIMARY KEY, t CHAR(5) COLLATE latin1_bin, u VARCHAR(7) COLLATE utf8mb4_bin, v TEXT CHARACTER SET binary, w ENUM('x') COLLATE latin1_bin, x SET('a','b') COLLATE utf8mb4_unicode_ci) CHARACTER SET latin2", insert: "(a) VALUES (1)"},
		{columns: "(a INT PRIMARY KEY, e ENUM('it''s', 'a,b', '', 'x\\\\y', '\\\"q', 'Ω') CHARACTER SET utf8mb4, s SET('', '€') CHARACTER SET latin1)", insert: "(a) VALUES (1)"},
		{columns: "(a YEAR PRIMARY KEY, b INT UNSIGNED, c YEAR, d INT, e TINYINT(1), f INT(5) ZEROFILL, g DECIMAL, h FLOAT(7,3), i DOUBLE(9,2) UNSIGNED, j REAL, k NUMERIC(5), l BOOLEAN)", insert: "(a) VALUES (2000)"},
		{columns: "(a INT PRIMARY KEY, b VARCHAR(15000), c TEXT(100), d TEXT(70000), e BLOB(10), f BLOB(70000), g NCHAR(5), h NVARCHAR(6), i LONG VARCHAR, j LONG VARBINARY)", insert: "(a) VALUES (1)"},
	}
	switch version {
	case testbed.MySQL97:
		definitions = append(definitions,
			tableDefinition{columns: "(a INT PRIMARY KEY, b INT INVISIBLE, c INT, INDEX ((a + c)), UNIQUE ((b + 1)))", insert: "(a) VALUES (1)"},
			tableDefinition{columns: "(a INT PRIMARY KEY, j JSON, INDEX ((CAST(j->'$.x' AS UNSIGNED ARRAY))), z INT UNSIGNED)", insert: "(a, j) VALUES (1, '{\"x\": [1, 2]}')"},
			tableDefinition{columns: "(a INT, v VECTOR(2048), w VECTOR(1), x VARCHAR(3))"})
	case testbed.MySQL80:
		definitions = append(definitions,
			tableDefinition{columns: "(b INT, c INT UNSIGNED, z YEAR, INDEX ((b + c)), d INT, a INT UNSIGNED PRIMARY KEY)", insert: "(a) VALUES (1)", alter: "ADD COLUMN f CHAR(3) COLLATE latin1_bin, ADD INDEX ((UPPER(f))), ADD COLUMN g CHAR(5)"})
	default:
		definitions = append(definitions,
			tableDefinition{columns: "(a INT PRIMARY KEY, b INT INVISIBLE, c JSON, d LONGTEXT COLLATE utf8mb4_uca1400_ai_ci, e CHAR(3) COLLATE utf8mb4_nopad_bin)", insert: "(a) VALUES (1)"},
			tableDefinition{columns: "(a INT PRIMARY KEY, d DECIMAL(65,38), e CHAR(3)) CHARACTER SET utf8mb4 COLLATE uca1400_as_cs", insert: "(a) VALUES (1)"})
	}
	return definitions
}

// setColumns has columns of every character set.
func setColumns(version testbed.MySQLVersion) []string {
	var columns []string
	names := charset.Names()
	slices.Sort(names)
	for _, set := range names {
		if version.IsMariaDB() && set == "gb18030" {
			continue
		}
		name := set
		if set == "utf8mb3" {
			name = "utf8"
		}
		columns = append(columns, fmt.Sprintf(
			"%[1]s_c CHAR(7) CHARACTER SET %[2]s, %[1]s_v VARCHAR(80) CHARACTER SET %[2]s, %[1]s_t TINYTEXT CHARACTER SET %[2]s, %[1]s_e ENUM('x','y') CHARACTER SET %[2]s, %[1]s_s SET('x','y') CHARACTER SET %[2]s",
			set, name))
	}
	return columns
}

// TestTextInAllSetsAgainstServer writes random text into columns of every character set.
func TestTextInAllSetsAgainstServer(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			s := startServer(t, version)
			r := newRandom(t)
			s.exec("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, " + strings.Join(setColumns(version), ", ") + ")")
			names := charset.Names()
			slices.Sort(names)
			changes := s.decode(s.during(func() {
				for range 60 {
					var values []string
					for _, name := range names {
						set, _ := charset.Lookup(name)
						if version.IsMariaDB() && name == "gb18030" {
							continue
						}
						text := func(lengthMax int) string {
							var b strings.Builder
							for range r.IntN(lengthMax + 1) {
								c := rune(r.IntN([]int{0x80, 0x100, 0x600, 0x3000, 0x10000, 0x110000}[r.IntN(6)]))
								if _, err := set.AppendNative(nil, []byte(string(c))); err != nil || name == "binary" {
									c = []rune(" \u2020ax")[r.IntN(4)]
								}
								if _, err := set.AppendNative(nil, []byte(string(c))); err != nil || name == "binary" {
									c = ' '
								}
								b.WriteRune(c)
							}
							return sqlText(b.String())
						}
						values = append(values, text(7), text(80), text(30), "1+"+fmt.Sprint(r.IntN(2)), fmt.Sprint(r.IntN(4)))
					}
					s.exec("INSERT INTO t VALUES (0, " + strings.Join(values, ", ") + ")")
				}
			}))
			table, err := changes[0].tm.Table(nil)
			if err != nil {
				t.Fatal(err)
			}
			shown := s.selected(table, "id")
			for i := range changes {
				equalRow(t, fmt.Sprintf("row %d", i+1), table, changes[i].after, shown[i])
			}
		})
	}
}
