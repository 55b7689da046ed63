package mysql

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/testbed"
)

// hashRows are rows that differ in one delicate thing each.
var hashRows = []string{
	"'a', 'b#c', x'0102', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.1",
	"'a#b', 'c', x'0102', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.1",
	"'a ', 'b#c', x'0102', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.1",
	"'A', 'b#c', x'0102', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.1",
	"'', 'b#c', x'0102', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.1",
	"NULL, 'b#c', x'0102', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.1",
	"'b#c', NULL, x'0102', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.1",
	"'a', 'b#c', x'0103', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.1",
	"'a', 'b#c', x'010200', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.1",
	"'a', 'b#c', NULL, 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.1",
	"'a', 'b#c', x'0102', '-0', '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.1",
	"'a', 'b#c', x'0102', 4.9e-320, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.1",
	"'a', 'b#c', x'0102', 0e0, '2026-05-06 07:08:09.123457', 1.50, 'x', 'p,q', b'0101', 0.1",
	"'a', 'b#c', x'0102', 0e0, '2026-05-06 07:08:09.123456', 1.51, 'x', 'p,q', b'0101', 0.1",
	"'a', 'b#c', x'0102', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'y', 'p,q', b'0101', 0.1",
	"'a', 'b#c', x'0102', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p', b'0101', 0.1",
	"'a', 'b#c', x'0102', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0100', 0.1",
	"'a', 'b#c', x'0102', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.10000001",
	"'é', 'é', x'0102', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.1",
	"'é', 'e', x'0102', 0e0, '2026-05-06 07:08:09.123456', 1.50, 'x', 'p,q', b'0101', 0.1",
}

// TestRowHash: rows that differ have different hashes, and equal rows the same on every server, in other charsets and collations too.
func TestRowHash(t *testing.T) {
	tables := map[string]string{
		"plain": `a VARCHAR(20) CHARACTER SET utf8mb4, b VARCHAR(20) CHARACTER SET latin1, c VARBINARY(20), d DOUBLE, e TIMESTAMP(6) NULL, f DECIMAL(8,2),
			g ENUM('x','y'), h SET('p','q'), i BIT(4), k FLOAT`,
		"other": `a VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, b TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci, c BLOB, d DOUBLE, e TIMESTAMP(6) NULL,
			f DECIMAL(12,2), g VARCHAR(9), h VARCHAR(9) CHARACTER SET latin1, i BIT(9), k FLOAT`,
	}
	var first []string
	for _, version := range []testbed.MySQLVersion{testbed.MySQL97, testbed.MySQL80} {
		server := start(t, version)
		db, facts := open(t, server, "app")
		ctx := context.Background()
		conn, err := db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"DROP DATABASE IF EXISTS rowhash", "CREATE DATABASE rowhash CHARACTER SET utf8mb4", "SET time_zone = '+00:00', sql_mode = ''"} {
			if _, err := conn.ExecContext(ctx, s); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(tables)) {
			if _, err := conn.ExecContext(ctx, "CREATE TABLE rowhash."+name+" (id INT NOT NULL PRIMARY KEY, "+tables[name]+")"); err != nil {
				t.Fatal(err)
			}
			for i, row := range hashRows {
				if _, err := conn.ExecContext(ctx, fmt.Sprintf("INSERT INTO rowhash.%s VALUES (%d, %s)", name, i, row)); err != nil {
					t.Fatalf("%s: %v", row, err)
				}
			}
			table, _, err := LoadTable(ctx, db, facts, change.TableName{DB: "rowhash", Name: name}, nil)
			if err != nil {
				t.Fatal(err)
			}
			table.Columns = table.Columns[1:] // the id alone would make them differ
			expression, ok := RowHash(table, table.Columns)
			if !ok {
				t.Fatal("no expression")
			}
			rows, err := conn.QueryContext(ctx, "SELECT "+expression+" FROM rowhash."+name+" ORDER BY id")
			if err != nil {
				t.Fatal(err)
			}
			var hashes []string
			for rows.Next() {
				var hash string
				if err := rows.Scan(&hash); err != nil {
					t.Fatal(err)
				}
				if at := slices.Index(hashes, hash); at >= 0 {
					t.Errorf("%s, %s: (%s) and (%s) have one hash", version, name, hashRows[at], hashRows[len(hashes)])
				}
				hashes = append(hashes, hash)
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = hashes
			}
			for i := range first {
				if first[i] != hashes[i] {
					t.Errorf("%s, %s: (%s) has another hash than on %s", version, name, hashRows[i], testbed.MySQL97)
				}
			}
		}
		conn.Close()
	}
}
