package mysql

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/testbed"
)

// TestLoadTable reads what TABLE_MAP does not tell; that the columns equal TABLE_MAP's is tested in
// source/binlog.
func TestLoadTable(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			server := start(t, version)
			exec(t, server, "CREATE DATABASE IF NOT EXISTS l", "CREATE TABLE l.p (id INT PRIMARY KEY, u INT NOT NULL UNIQUE)",
				`CREATE TABLE l.c (
					id INT NOT NULL AUTO_INCREMENT, a INT, b VARCHAR(20) NOT NULL DEFAULT 'it''s', g INT AS (e + 1) VIRTUAL,
					s INT AS (e + 2) STORED, d DATETIME DEFAULT CURRENT_TIMESTAMP, i BIT(3) DEFAULT b'101', n INT NULL DEFAULT 5, e INT NOT NULL,
					PRIMARY KEY (id), UNIQUE ub (b(3)), UNIQUE ua (a), UNIQUE ue (e, b),
					CONSTRAINT fk1 FOREIGN KEY (a) REFERENCES l.p (id) ON DELETE CASCADE,
					CONSTRAINT fk2 FOREIGN KEY (e) REFERENCES l.p (u) ON UPDATE RESTRICT,
					CONSTRAINT fk3 FOREIGN KEY (n) REFERENCES l.p (u) ON DELETE SET NULL ON UPDATE CASCADE) COMMENT 'CONSTRAINT'`,
				"INSERT INTO l.p VALUES (1, 1)", "INSERT INTO l.c (a, n, e) VALUES (1, 1, 1)")
			db, facts := open(t, server, "cdc")
			name := change.TableName{DB: "l", Name: "c"}
			table, extras, err := LoadTable(t.Context(), db, facts, name, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(table.KeyNames(), extras.Generated, extras.Virtual, extras.AutoIncrement, extras.Engine, extras.Functional); got !=
				"[id] [false false false true true false false false false] [false false false true false false false false false] 0InnoDBfalse" {
				t.Errorf("got %s", got)
			}
			var uniques []string
			for _, u := range extras.Uniques {
				uniques = append(uniques, fmt.Sprint(u.Name, u.Columns, u.Lengths, u.Nullable, u.Prefix, u.Functional, u.Identifies()))
			}
			want := []string{"PRIMARY[0] [0] false false false true", "ua[1] [0] true false false false",
				"ub[2] [3] false true false false", "ue[8 2] [0 0] false false false true"}
			if diff := cmp.Diff(want, uniques); diff != "" {
				t.Errorf("want -, got +\n%s", diff)
			}
			wantCascades := []string{"fk1 ON DELETE CASCADE of p", "fk3 ON DELETE SET NULL ON UPDATE CASCADE of p"}
			if diff := cmp.Diff(wantCascades, extras.Cascades); diff != "" {
				t.Errorf("want -, got +\n%s", diff)
			}
			checkDefaults(t, db, extras.Defaults)
			checkFindings(t, facts, table, extras)
			if extras.Rows != 1 {
				t.Errorf("%d rows are estimated", extras.Rows)
			}
			checkKeys(t, db, facts, name)
		})
	}
}

// checkDefaults has the server compute each default.
func checkDefaults(t *testing.T, db *sql.DB, defaults []string) {
	t.Helper()
	want := []string{"", "", "it's", "", "", "now", "5", "5", ""}
	for i, expression := range defaults {
		if strings.EqualFold(expression, "NULL") { // MariaDB says it for every column that may be NULL
			expression = ""
		}
		got := ""
		if expression != "" {
			if err := db.QueryRow("SELECT CONCAT(" + strings.ReplaceAll(expression, "b'101'", "b'101' + 0") + ")").Scan(&got); err != nil {
				t.Errorf("default %d, %s: %v", i, expression, err)
			}
		}
		if want[i] == "now" && len(got) == len("2006-01-02 15:04:05") {
			continue
		}
		if got != want[i] {
			t.Errorf("default %d, %q, is %q, want %q", i, expression, got, want[i])
		}
	}
}

func checkFindings(t *testing.T, facts *Facts, table *change.Table, extras *TableExtras) {
	t.Helper()
	refused := Errors(CheckTable(facts, table, extras, false))
	if (len(refused) == 0) != facts.CascadesLogged() {
		t.Errorf("cascades: %s", summary(refused))
	}
	if accepted := Errors(CheckTable(facts, table, extras, true)); len(accepted) != 0 {
		t.Errorf("accepted cascades: %s", summary(accepted))
	}
}

func checkKeys(t *testing.T, db *sql.DB, facts *Facts, name change.TableName) {
	t.Helper()
	for _, c := range []struct {
		key  []string
		want string
	}{{[]string{"b", "E"}, "[b e]"}, {[]string{"id"}, "[id]"}, {[]string{"a"}, ""}, {[]string{"b"}, ""}, {[]string{"e"}, ""}, {[]string{"zz"}, ""}} {
		table, _, err := LoadTable(t.Context(), db, facts, name, c.key)
		switch {
		case err != nil && (c.want != "" || change.SeverityOf(err) != change.Poison):
			t.Errorf("%v: %v", c.key, err)
		case err == nil && fmt.Sprint(table.KeyNames()) != c.want:
			t.Errorf("%v: got %v", c.key, table.KeyNames())
		}
	}
	_, _, err := LoadTable(t.Context(), db, facts, change.TableName{DB: name.DB, Name: "none"}, nil)
	if !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("no table: %v", err)
	}
	names, err := ListTables(t.Context(), db)
	if err != nil || !slices.Contains(names, name) || slices.ContainsFunc(names, func(n change.TableName) bool { return n.DB == "mysql" }) {
		t.Errorf("tables %v, %v", names, err)
	}
}

func TestCheckTable(t *testing.T) {
	old := &Facts{Major: 8, Minor: 0, Patch: 15}
	columns := []change.Column{{Name: "f", Type: change.Float}, {Name: "n", Type: change.Int}}
	for _, c := range []struct {
		what   string
		key    []int
		extras TableExtras
		want   string
	}{
		{"good", []int{1}, TableExtras{Engine: "InnoDB"}, ""},
		{"no key", nil, TableExtras{}, "error: the table has no primary key"},
		{"float", []int{0}, TableExtras{}, "error: key column f is a FLOAT"},
		{"prefix", []int{1}, TableExtras{Uniques: []Unique{{Name: "PRIMARY", Columns: []int{1}, Prefix: true}}},
			"warning: the primary key holds only the beginning of a column"},
		{"versioned", []int{1}, TableExtras{Versioned: true}, "error: the table is system-versioned"},
		{"functional", []int{1}, TableExtras{Functional: true}, "error: an index of the table has an expression"},
		{"engine", []int{1}, TableExtras{Engine: "MyISAM"}, "warning: the table's engine is MyISAM"},
		{"uncertain", []int{1}, TableExtras{Uncertain: []string{"e"}}, "warning: ENUM or SET names of e have a '?'"},
	} {
		table := &change.Table{TableName: change.TableName{DB: "d", Name: "t"}, Columns: columns, Key: c.key}
		if got := summary(CheckTable(old, table, &c.extras, false)); got != c.want {
			t.Errorf("%s: got %s", c.what, got)
		}
	}
	table := &change.Table{TableName: change.TableName{DB: "d", Name: "t"}, Columns: columns}
	extras := &TableExtras{Uniques: []Unique{{Name: "u", Columns: []int{1}}}}
	if got := CheckTable(old, table, extras, false)[0].Mend; !strings.Contains(got, "key: [n]") {
		t.Errorf("the unique key is not named: %s", got)
	}
}

// TestUnsupportedTypes are MariaDB's: the columns are refused by name.
func TestUnsupportedTypes(t *testing.T) {
	server := start(t, testbed.MariaDB1011)
	exec(t, server, "CREATE DATABASE IF NOT EXISTS u", "CREATE TABLE u.a (id INT PRIMARY KEY, x UUID)",
		"CREATE TABLE u.b (id INT PRIMARY KEY, x INET6)", "CREATE TABLE u.c (id INT PRIMARY KEY, x VARCHAR(100) COMPRESSED)",
		"CREATE TABLE u.d (id INT PRIMARY KEY) WITH SYSTEM VERSIONING")
	db, facts := open(t, server, "cdc")
	for _, name := range []string{"a", "b", "c"} {
		_, _, err := LoadTable(t.Context(), db, facts, change.TableName{DB: "u", Name: name}, nil)
		var problem *change.Problem
		if !errors.As(err, &problem) || problem.Kind != change.Poison || !strings.Contains(problem.What, "column x") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, extras, err := LoadTable(t.Context(), db, facts, change.TableName{DB: "u", Name: "d"}, nil)
	if err != nil || !extras.Versioned {
		t.Errorf("system versioning is not seen: %+v, %v", extras, err)
	}
}

func TestParseElements(t *testing.T) {
	for text, want := range map[string][]string{
		"enum('a')":                     {"a"},
		"enum('')":                      {""},
		"set('a','it''s',',(','ü)')":    {"a", "it's", ",(", "ü)"},
		`enum('x\\y','l\nf','\0','\r')`: {`x\y`, "l\nf", "\x00", "\r"},
	} {
		if got, err := parseElements(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"enum", "enum()", "enum('a", "enum('a')x", "enum('a' 'b')", "enum(a)", "enum('a',)"} {
		if got, err := parseElements(text); err == nil {
			t.Errorf("%s: read as %q", text, got)
		}
	}
}

func FuzzParseElements(f *testing.F) {
	f.Add("enum('a','it''s')")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parseElements(text) })
}
