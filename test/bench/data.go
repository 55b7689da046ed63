package bench

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// database holds the tables that are captured, kit what helps to fill them, which no contender captures.
const (
	database = "bench"
	kit      = "kit"
)

// shape is a kind of row.
type shape struct {
	name  string // of its table
	label string // in the names of works
	// columns are those after `id INT NOT NULL PRIMARY KEY`, as they are declared.
	columns string
	// values are expressions of s.n, the row's number, in the order of the columns.
	values string
	// change is what an update assigns: always another value.
	change string
}

// crcs is digits that compress no better than sysbench's: so many checksums of the row's number, joined by dashes.
func crcs(groups int) string {
	parts := make([]string, groups)
	for i := range parts {
		parts[i] = fmt.Sprintf("LPAD(CRC32(s.n * %d + %d), 10, '0')", groups, i)
	}
	return "CONCAT_WS('-', " + strings.Join(parts, ", ") + ")"
}

// hashes is hexadecimal text, 128 letters each.
func hashes(n int) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf("SHA2(s.n * %d + %d, 512)", n, i)
	}
	return "CONCAT(" + strings.Join(parts, ", ") + ")"
}

// The rows that are measured: 20 B, sysbench's of 195 B, 1 KB, and 60 columns of many types.
var (
	rowsNarrow = &shape{name: "narrow", label: "narrow", columns: "a INT NOT NULL, b BIGINT NOT NULL",
		values: "CRC32(s.n) >> 1, s.n * 1000003", change: "a = a ^ 1"}
	rows200 = &shape{name: "rows200", label: "200 B", columns: "k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL",
		values: "CRC32(s.n) >> 1, " + crcs(10) + ", " + crcs(5), change: "k = k ^ 1"}
	rows1k = &shape{name: "rows1k", label: "1 KB", columns: "k INT NOT NULL, v VARCHAR(1000) NOT NULL",
		values: "CRC32(s.n) >> 1, " + hashes(7), change: "k = k ^ 1"}
	rows60 = wide()
	// rowsUnique has a second UNIQUE key.
	rowsUnique = &shape{name: "codes", label: "200 B, two unique keys",
		columns: "code VARCHAR(24) NOT NULL, k INT NOT NULL, c CHAR(120) NOT NULL, UNIQUE KEY code (code)",
		values:  "CONCAT('c', s.n), CRC32(s.n) >> 1, " + crcs(10), change: "k = k ^ 1"}
)

// wide is a row of 60 columns.
func wide() *shape {
	columns, values := []string{}, []string{}
	add := func(count int, kind, expression string) {
		for range count {
			n := len(columns)
			columns = append(columns, fmt.Sprintf("c%02d %s", n, kind))
			values = append(values, strings.ReplaceAll(expression, "%", fmt.Sprint(n)))
		}
	}
	add(20, "INT NOT NULL", "CRC32(s.n + %) >> 1")
	add(10, "BIGINT UNSIGNED NOT NULL", "CRC32(s.n + %) * 4000000007")
	add(10, "VARCHAR(40) NOT NULL", "CONCAT('value ', CRC32(s.n + %))")
	add(5, "DECIMAL(12,2) NOT NULL", "CRC32(s.n + %) / 100")
	add(5, "DATETIME(3) NOT NULL", "TIMESTAMPADD(SECOND, CRC32(s.n + %) >> 4, '2020-01-01')")
	add(5, "DOUBLE NOT NULL", "CRC32(s.n + %) / 1000")
	add(4, "VARCHAR(20) NULL", "IF(MOD(s.n, 2) = 0, NULL, LEFT(SHA2(s.n, 256), 12))")
	return &shape{name: "rows60", label: "60 columns", columns: strings.Join(columns, ", "), values: strings.Join(values, ", "), change: "c00 = c00 ^ 1"}
}

// create is the statement that makes the table, which may have another name than its shape.
func (s *shape) create(table string) string {
	return fmt.Sprintf("CREATE TABLE %s.%s (id INT NOT NULL PRIMARY KEY, %s)", database, table, s.columns)
}

// insert puts rows numbered first+1 to first+count into a table; both are SQL. count is at most numbersMax.
func (s *shape) insert(table, first, count string) string {
	return fmt.Sprintf("INSERT INTO %s.%s SELECT s.n, %s FROM (SELECT %s + i + 1 AS n FROM %s.numbers WHERE i < %s) s",
		database, table, s.values, first, kit, count)
}

// numbersMax is how many rows kit.numbers has: the most of one statement.
const numbersMax = 10_000

// prepareKit makes what fills tables.
func prepareKit(ctx context.Context, db *sql.DB) error {
	return execute(ctx, db, "CREATE DATABASE "+kit, "CREATE DATABASE "+database, "CREATE TABLE "+kit+".numbers (i INT NOT NULL PRIMARY KEY)",
		"INSERT INTO "+kit+".numbers WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i < "+fmt.Sprint(numbersMax-1)+
			") SELECT /*+ SET_VAR(cte_max_recursion_depth = 100000) */ i FROM s")
}

// execute runs statements one after the other.
func execute(ctx context.Context, db *sql.DB, statements ...string) error {
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%.120s: %w", s, err)
		}
	}
	return nil
}

// fill puts rows 1 to count into a table.
func (s *shape) fill(ctx context.Context, db *sql.DB, table string, count int) error {
	for first := 0; first < count; first += numbersMax {
		if err := execute(ctx, db, s.insert(table, fmt.Sprint(first), fmt.Sprint(min(numbersMax, count-first)))); err != nil {
			return err
		}
	}
	return nil
}

// backlog is a number of transactions of 100 changes. Each inserts 50 rows, and updates 40 and deletes 10 of those that the one before it
// inserted: so every other change is an insert, and rows live long enough to be updated in another transaction.
type backlog struct{ transactions int }

const (
	inserted = 50 // of each transaction
	updated  = 40 // of those of the one before
	deleted  = 10
)

// backlogOf has at least so many changes.
func backlogOf(changes int) backlog { return backlog{(changes+inserted)/100 + 1} }

// The numbers of changes. The first transaction has nothing to update or delete.
func (b backlog) inserts() int64 { return int64(b.transactions) * inserted }
func (b backlog) updates() int64 { return int64(b.transactions-1) * updated }
func (b backlog) deletes() int64 { return int64(b.transactions-1) * deleted }
func (b backlog) changes() int64 { return b.inserts() + b.updates() + b.deletes() }

// events are the changes by their operation.
func (b backlog) events() map[change.Op]int64 {
	return map[change.Op]int64{change.Create: b.inserts(), change.Update: b.updates(), change.Delete: b.deletes()}
}

// callMax is how many transactions one CALL makes.
const callMax = 1000

// write writes the backlog into the table's binlog, by a procedure: sent one by one, so many transactions would take minutes.
func (b backlog) write(ctx context.Context, db *sql.DB, s *shape, table string) error {
	name := kit + "." + table
	// A parameter hides a column of its name, so the names are no table's columns.
	err := execute(ctx, db, "DROP PROCEDURE IF EXISTS "+name, fmt.Sprintf(`CREATE PROCEDURE %[1]s(turn_ INT, last_ INT) BEGIN
		WHILE turn_ < last_ DO
			START TRANSACTION;
			%[2]s;
			IF turn_ > 0 THEN
				UPDATE %[3]s.%[4]s SET %[5]s WHERE id BETWEEN (turn_ - 1) * %[6]d + 1 AND (turn_ - 1) * %[6]d + %[7]d;
				DELETE FROM %[3]s.%[4]s WHERE id BETWEEN (turn_ - 1) * %[6]d + %[7]d + 1 AND turn_ * %[6]d;
			END IF;
			COMMIT;
			SET turn_ = turn_ + 1;
		END WHILE;
	END`, name, s.insert(table, fmt.Sprintf("turn_ * %d", inserted), fmt.Sprint(inserted)), database, table, s.change, inserted, updated))
	if err != nil {
		return err
	}
	for first := 0; first < b.transactions; first += callMax {
		if err := execute(ctx, db, fmt.Sprintf("CALL %s(%d, %d)", name, first, min(first+callMax, b.transactions))); err != nil {
			return err
		}
	}
	return nil
}

// conflictChunk is after how many inserts some of them change their code.
const conflictChunk = numbersMax

// writeCodes fills a table with a second UNIQUE key. Of each hundred rows the first and the second get another code soon after they were
// inserted: with conflicts the second gets the one that the first has just given up, without them a new one. So both logs have the same
// numbers of changes, and one row in a hundred meets the owner of before of its value.
func writeCodes(ctx context.Context, db *sql.DB, table string, count int, conflicts bool) error {
	taken := "CONCAT('n', id)"
	if conflicts {
		taken = "CONCAT('c', id - 1)"
	}
	for first := 0; first < count; first += conflictChunk {
		n := min(conflictChunk, count-first)
		where := fmt.Sprintf("WHERE id > %d AND id <= %d AND id %% 100", first, first+n)
		if err := execute(ctx, db, rowsUnique.insert(table, fmt.Sprint(first), fmt.Sprint(n)),
			fmt.Sprintf("UPDATE %s.%s SET code = CONCAT('m', id) %s = 1", database, table, where),
			fmt.Sprintf("UPDATE %s.%s SET code = %s %s = 2", database, table, taken, where)); err != nil {
			return err
		}
	}
	return nil
}

// codeEvents are the changes that writeCodes makes.
func codeEvents(count int) map[change.Op]int64 {
	of := func(rest int) int64 { return int64((count + 100 - rest) / 100) } // how many of 1 to count leave the rest
	return map[change.Op]int64{change.Create: int64(count), change.Update: of(1) + of(2)}
}

// columnNames are a table's columns in their order.
func columnNames(ctx context.Context, db *sql.DB, table string) ([]string, error) {
	rows, err := db.QueryContext(ctx, `SELECT COLUMN_NAME FROM information_schema.COLUMNS
		WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION`, database, table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("table %s.%s is not there", database, table)
	}
	return slices.Clip(names), rows.Err()
}
