package rowimage_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/testbed"
)

// TestCompressedEvents reads the rows events that MariaDB compresses.
func TestCompressedEvents(t *testing.T) {
	s := startServer(t, testbed.MariaDB1011, "log_bin_compress=ON", "log_bin_compress_min_len=10")
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, b LONGTEXT)")
	kinds := map[byte]int{}
	events := s.during(func() {
		for i := range 20 {
			s.exec(fmt.Sprintf("INSERT INTO t VALUES (%d, REPEAT('abc', %d)), (%d, NULL)", i, i*i*i*10, -i-1))
		}
		s.exec("UPDATE t SET b = CONCAT(b, 'x') WHERE id > 0", "DELETE FROM t")
	})
	for _, event := range events {
		kinds[event.kind]++
	}
	if kinds[166] == 0 || kinds[167] == 0 || kinds[168] == 0 {
		t.Fatalf("no compressed events: %v", kinds)
	}
	changes := s.decode(events)
	if len(changes) != 40+19+40 {
		t.Fatalf("%d row changes", len(changes))
	}
	for i := range 20 {
		if got := changes[2*i].after[1].String(); got != strings.Repeat("abc", i*i*i*10) {
			t.Errorf("row %d has %d bytes", i, len(got))
		}
	}
	if got := changes[58].after[1].String(); !strings.HasSuffix(got, "abcx") {
		t.Errorf("updated: %.20q", got)
	}
}

// TestCompressedColumns reads MariaDB's COMPRESSED columns, whose stored form goes into the binlog.
func TestCompressedColumns(t *testing.T) {
	s := startServer(t, testbed.MariaDB1011, "column_compression_threshold=10")
	s.exec("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(1000) COMPRESSED CHARACTER SET latin1, b BLOB COMPRESSED, c LONGTEXT COMPRESSED CHARACTER SET utf8mb4, d VARBINARY(200) COMPRESSED, e INT)")
	changes := s.decode(s.during(func() {
		for _, n := range []int{0, 1, 9, 10, 11, 50, 1000} {
			for wrap := range 2 {
				s.exec(fmt.Sprintf("SET column_compression_zlib_wrap = %d", wrap),
					fmt.Sprintf("INSERT INTO t VALUES (0, REPEAT('a', %d), REPEAT('bc', %d), REPEAT('äx', %d), REPEAT(x'00', %d), 1)", n, n, n*100, min(n, 200)))
			}
		}
		s.exec("INSERT INTO t VALUES (0, NULL, NULL, NULL, NULL, NULL)")
	}))
	table, err := changes[0].tm.Table(nil)
	if err != nil {
		t.Fatal(err)
	}
	if table.Columns[1].Length != 1000 || table.Columns[4].Length != 200 || table.Columns[4].Type != change.VarBinary || table.Columns[3].Type != change.LongText {
		t.Errorf("%+v", table.Columns)
	}
	shown := s.selected(table, "id")
	for i := range changes {
		equalRow(t, fmt.Sprintf("row %d", i+1), table, changes[i].after, shown[i])
	}
}

// TestOldTimes reads times in the form of before MySQL 5.6, which MariaDB still writes when told to.
func TestOldTimes(t *testing.T) {
	s := startServer(t, testbed.MariaDB1011, "mysql56_temporal_format=OFF")
	s.exec("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a TIME, b DATETIME, c TIMESTAMP NULL, d DATE, e INT)")
	changes := s.decode(s.during(func() {
		s.exec("INSERT INTO t VALUES (0, '12:34:56', '2024-05-06 07:08:09', '2024-05-06 07:08:09', '2024-05-06', 1)",
			"INSERT INTO t VALUES (0, '-838:59:59', '9999-12-31 23:59:59', '2038-01-19 03:14:07', '9999-12-31', 2)",
			"INSERT INTO t VALUES (0, '-00:00:01', '0000-00-00', '0000-00-00', '0000-00-00', 3)",
			"INSERT INTO t VALUES (0, '838:59:59', '2024-00-00 01:02:03', '1970-01-01 00:00:01', '2024-02-00', 4)",
			"INSERT INTO t VALUES (0, NULL, NULL, NULL, NULL, NULL)")
	}))
	if got := changes[0].tm.Columns[1].Type; got != 11 {
		t.Fatalf("TIME is type %d: the server did not write the old form", got)
	}
	table, err := changes[0].tm.Table(nil)
	if err != nil {
		t.Fatal(err)
	}
	shown := s.selected(table, "id")
	for i := range changes {
		equalRow(t, fmt.Sprintf("row %d", i+1), table, changes[i].after, shown[i])
	}
}

// TestPartitionedAndMinimalImages reads events with extra data (the partition) and images that leave columns out.
func TestPartitionedAndMinimalImages(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			s := startServer(t, version)
			s.exec("CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(10), b INT, c INT) PARTITION BY HASH (id) PARTITIONS 3",
				"SET binlog_row_image = MINIMAL")
			events := s.during(func() {
				s.exec("INSERT INTO t (id, b) VALUES (1, 10), (2, 20)", "UPDATE t SET c = 7, id = id + 10", "DELETE FROM t WHERE id = 11")
			})
			var tm *rowimage.TableMap
			for _, event := range events {
				var err error
				if event.kind == tableMapEvent {
					if tm, err = rowimage.ParseTableMap(event.body, s.flavor); err != nil {
						t.Fatal(err)
					}
				}
				if !rowimage.IsRows(event.kind) {
					continue
				}
				rows, err := rowimage.ParseRows(event.kind, event.body)
				if err != nil {
					t.Fatal(err)
				}
				cells := make([]rowimage.Cell, len(tm.Columns))
				present := func() string {
					return fmt.Sprint(cells[0].Present, cells[1].Present, cells[2].Present, cells[3].Present)
				}
				want := map[change.Op][2]string{
					change.Create: {"", "true false true false"},
					change.Update: {"true false false false", "true false false true"},
					change.Delete: {"true false false false", ""},
				}[rows.Op]
				for data := rows.Data; len(data) > 0; {
					for i, bitmap := range [][]byte{rows.Before, rows.After} {
						if bitmap == nil {
							continue
						}
						if data, err = tm.Image(bitmap, data, cells); err != nil {
							t.Fatal(err)
						}
						if present() != want[i] && !(rows.Op == change.Create && version.IsMariaDB()) {
							t.Errorf("%s: image %d has columns %s, want %s", rows.Op, i, present(), want[i])
						}
					}
				}
			}
		})
	}
}

// TestMinimalMetadataIsAProblem wants the error of a table map without full metadata to say which setting.
func TestMinimalMetadataIsAProblem(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			s := startServer(t, version, "binlog_row_metadata=MINIMAL")
			s.exec("CREATE TABLE t (id INT PRIMARY KEY)")
			events := s.during(func() { s.exec("INSERT INTO t VALUES (1)") })
			for _, event := range events {
				if event.kind != tableMapEvent {
					continue
				}
				tm, err := rowimage.ParseTableMap(event.body, s.flavor)
				if err != nil {
					t.Fatal(err)
				}
				_, err = tm.Table(nil)
				var problem *change.Problem
				if !errors.As(err, &problem) || problem.Kind != change.Configuration || !strings.Contains(problem.What, "binlog_row_metadata") {
					t.Errorf("%v", err)
				}
				if _, err := tm.Value(0, rowimage.Cell{Present: true, Data: []byte{1, 0, 0, 0}}); !errors.As(err, &problem) {
					t.Errorf("Value: %v", err)
				}
			}
		})
	}
}
