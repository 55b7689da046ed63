// Command gen asks a running server for the maps of its character sets and for the numbers of its collations
// and writes them for package charset:
//
//	go run ./mysql/charset/gen -dsn 'root@tcp(127.0.0.1:3306)/' -dir mysql/charset
//
// From MySQL it writes tables.bin and collations_mysql.txt. From MariaDB it writes collations_mariadb.txt and
// compares the maps with those of tables.bin: where the two differ MySQL's are kept, and the differences are
// printed and make the exit code 3.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	_ "github.com/go-sql-driver/mysql"
)

var errDiffers = errors.New("the server's maps differ from those in tables.bin")

func main() {
	dsn := flag.String("dsn", "", "the server, as go-sql-driver/mysql wants it")
	dir := flag.String("dir", "mysql/charset", "the folder to write to")
	flag.Parse()
	err := run(context.Background(), *dsn, *dir)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "gen:", err)
	if errors.Is(err, errDiffers) {
		os.Exit(3)
	}
	os.Exit(1)
}

func run(ctx context.Context, dsn, dir string) error {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	// Else a table of text in the connection's own set, and MariaDB's errors on bytes that are no characters.
	if _, err := conn.ExecContext(ctx, "SET NAMES utf8mb4, sql_mode = ''"); err != nil {
		return err
	}
	var version string
	if err := conn.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return err
	}
	mariaDB := strings.Contains(version, "MariaDB")
	if err := writeCollations(ctx, conn, dir, mariaDB); err != nil {
		return fmt.Errorf("collations: %w", err)
	}
	maps, err := readMaps(ctx, conn)
	if err != nil {
		return fmt.Errorf("maps: %w", err)
	}
	if mariaDB {
		return compare(maps)
	}
	return os.WriteFile(filepath.Join(dir, "tables.bin"), pack(maps), 0o644)
}

// writeCollations writes "id collation charset" lines in the order of ids. MariaDB's uca1400 collations have
// a number for each character set they go with; the short names without a set have none.
func writeCollations(ctx context.Context, conn *sql.Conn, dir string, mariaDB bool) error {
	query := "SELECT ID, COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATIONS ORDER BY ID"
	file := "collations_mysql.txt"
	if mariaDB {
		query = "SELECT ID, FULL_COLLATION_NAME, CHARACTER_SET_NAME" +
			" FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY ORDER BY ID"
		file = "collations_mariadb.txt"
	}
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	var out strings.Builder
	for rows.Next() {
		var id uint32
		var name, set string
		if err := rows.Scan(&id, &name, &set); err != nil {
			return err
		}
		fmt.Fprintln(&out, id, name, canonicalSet(set))
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, file), []byte(out.String()), 0o644)
}

// canonicalSet gives utf8mb3 its name: older servers say utf8.
func canonicalSet(set string) string {
	if set == "utf8" {
		return "utf8mb3"
	}
	return set
}
