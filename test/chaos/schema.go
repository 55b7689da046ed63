package chaos

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/sluice-cdc/sluice/testbed"
)

// database is where the tables are, at the source and in the shards.
const database = "fire"

// table is one of the tables of the play.
type table struct {
	name    string
	key     []string // all of them integers
	columns string   // of its CREATE TABLE, keys too
	foreign string   // foreign keys, which only the source has
	unique  []string // names of secondary unique keys
	route   string   // by and rule
}

// size is how many rows a table may have, by its domain of keys; about half of them are there.
type size struct{ a, b, accounts, many, types, parents int }

func (s Settings) size() size {
	of := func(n int) int { return max(20, n*s.Scale/100) }
	return size{a: of(60_000), b: of(20_000), accounts: of(6000), many: of(3000), types: of(1500), parents: of(1500)}
}

// binary is a text column that is equal on all servers, in all ways.
const binaryText = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"

// tablesOf returns the tables for a server of this version. a and b are those of the ancestor's test.
func tablesOf(v testbed.MySQLVersion) []table {
	return []table{
		{name: "a", key: []string{"no"}, unique: []string{"uk"}, route: "by: uk, rule: modulus",
			columns: "no INT NOT NULL PRIMARY KEY, uk INT NOT NULL, update_cnt INT NOT NULL, random_val VARCHAR(40) " + binaryText + ", UNIQUE KEY uk (uk)"},
		{name: "b", key: []string{"no", "seq"}, unique: []string{"uk"}, route: "by: no, rule: modulus",
			columns: "no INT NOT NULL, seq INT NOT NULL, uk INT NOT NULL, update_cnt INT NOT NULL, random_val VARCHAR(40) " + binaryText +
				", PRIMARY KEY (no, seq), UNIQUE KEY uk (uk)"},
		{name: "accounts", key: []string{"id"}, route: "by: home, rule: modulus",
			columns: "id INT NOT NULL PRIMARY KEY, home INT NOT NULL, balance BIGINT NOT NULL, moves INT NOT NULL"},
		{name: "many", key: []string{"id"}, unique: []string{"u1", "u2", "u3", "u4", "u5"}, route: "by: home, rule: modulus",
			columns: "id INT NOT NULL PRIMARY KEY, home INT NOT NULL, u1 INT, u2 INT, u3 VARCHAR(12) " + binaryText + ", u4 INT NOT NULL, u5 SMALLINT, u5x SMALLINT, n INT NOT NULL, " +
				"UNIQUE KEY u1 (u1), UNIQUE KEY u2 (u2), UNIQUE KEY u3 (u3), UNIQUE KEY u4 (u4), UNIQUE KEY u5 (u5, u5x)"},
		{name: "types", key: []string{"id"}, route: "by: home, rule: modulus", columns: typesColumns(v)},
		{name: "parents", key: []string{"id"}, unique: []string{"code"}, route: "by: id, rule: modulus",
			columns: "id INT NOT NULL PRIMARY KEY, code INT NOT NULL, note VARCHAR(30) " + binaryText + ", UNIQUE KEY code (code)"},
		{name: "children", key: []string{"id"}, route: `by: "parent ?? 0", rule: modulus`,
			columns: "id INT NOT NULL PRIMARY KEY, parent INT, code INT, n INT NOT NULL, KEY parent (parent), KEY code (code)",
			foreign: "CONSTRAINT of_parent FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE ON UPDATE CASCADE, " +
				"CONSTRAINT of_code FOREIGN KEY (code) REFERENCES parents (code) ON DELETE SET NULL ON UPDATE CASCADE"},
	}
}

// cascades says whether the source's binlog holds what foreign keys change.
func (s Settings) cascades() bool { return s.Source == testbed.MySQL97 }

// create makes the tables, at a shard without foreign keys.
func create(ctx context.Context, m *testbed.MySQL, foreign bool) error {
	statements := []string{"CREATE DATABASE " + database + " CHARACTER SET utf8mb4"}
	for _, t := range tablesOf(m.Flavor) {
		columns := t.columns
		if foreign && t.foreign != "" {
			columns += ", " + t.foreign
		}
		statements = append(statements, fmt.Sprintf("CREATE TABLE %s.%s (%s) ENGINE=InnoDB", database, t.name, columns))
	}
	return m.Exec(ctx, statements...)
}

// openingBalance is each account's at the beginning.
const openingBalance = 1000

// load makes the tables everywhere and fills the source's: every other key.
func (b *bed) load(ctx context.Context) error {
	for _, m := range b.shards {
		if err := create(ctx, m, false); err != nil {
			return fmt.Errorf("make the tables in a shard: %w", err)
		}
	}
	primary, _ := b.pair()
	if err := create(ctx, primary, b.settings.cascades()); err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	db, err := primary.Open("app", database)
	if err != nil {
		return err
	}
	defer db.Close()
	z := b.settings.size()
	types := b.settings.typed()
	typed := func(n int) string { return typedRow(types, n, func(values int) int { return n % values }) }
	for _, fill := range []struct {
		into string
		rows int
		row  func(n int) string
	}{
		{"a", z.a / 2, func(n int) string { return fmt.Sprintf("(%d,%d,0,'loaded')", 2*n, 2*n) }},
		{"b", z.b / 2, func(n int) string { return fmt.Sprintf("(%d,%d,%d,0,'loaded')", 2*n, n%3, 2*n) }},
		{"accounts", z.accounts, func(n int) string { return fmt.Sprintf("(%d,%d,%d,0)", n, n, openingBalance) }},
		{"many", z.many / 2, func(n int) string {
			return fmt.Sprintf("(%d,%d,%d,%d,'v%d',%d,%d,%d,0)", n, n, n, n, n, n, n/100, n%100)
		}},
		{"types", z.types / 2, typed},
		{"parents", z.parents / 2, func(n int) string { return fmt.Sprintf("(%d,%d,'loaded')", 2*n, 2*n) }},
		{"children", z.parents / 2, func(n int) string { return fmt.Sprintf("(%d,%d,%d,0)", n, 2*n, 2*n) }},
	} {
		if err := fillTable(ctx, db, fill.into, fill.rows, fill.row); err != nil {
			return fmt.Errorf("fill %s: %w", fill.into, err)
		}
	}
	return nil
}

// fillStep is how many rows one statement makes.
const fillStep = 500

func fillTable(ctx context.Context, db *sql.DB, into string, rows int, row func(int) string) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'"); err != nil {
		return err
	}
	for from := 1; from <= rows; from += fillStep {
		var values []string
		for n := from; n < min(from+fillStep, rows+1); n++ {
			values = append(values, row(n))
		}
		if _, err := conn.ExecContext(ctx, "INSERT INTO "+into+" VALUES "+strings.Join(values, ",")); err != nil {
			return err
		}
	}
	return nil
}
