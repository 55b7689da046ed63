package rowimage_test

import (
	"encoding/hex"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
)

// addRecorded seeds a fuzz test with a table map and each rows event after it, as real servers wrote them.
func addRecorded(f *testing.F, add func(tableMap []byte, kind byte, rows []byte, mariaDB bool)) {
	f.Helper()
	for _, version := range versions {
		content, err := os.ReadFile(goldenPath(version))
		if err != nil {
			f.Fatal(err)
		}
		var tableMap []byte
		for line := range strings.Lines(string(content)) {
			fields := strings.Fields(line)
			if fields[0] != "event" {
				continue
			}
			kind, err := strconv.ParseUint(fields[1], 10, 8)
			if err != nil {
				f.Fatal(err)
			}
			body, err := hex.DecodeString(fields[2])
			if err != nil {
				f.Fatal(err)
			}
			if kind == tableMapEvent {
				tableMap = body
			} else {
				add(tableMap, byte(kind), body, version.IsMariaDB())
			}
		}
	}
}

func flavorOf(mariaDB bool) gtid.Flavor {
	if mariaDB {
		return gtid.MariaDB
	}
	return gtid.MySQL
}

// FuzzTableMap wants an error or a table, never a panic.
func FuzzTableMap(f *testing.F) {
	addRecorded(f, func(tableMap []byte, _ byte, _ []byte, mariaDB bool) {
		f.Add(tableMap, mariaDB, "8.0.17")
		f.Add(tableMap, mariaDB, "9.7.4")
	})
	f.Fuzz(func(t *testing.T, body []byte, mariaDB bool, version string) {
		tm, err := rowimage.ParseTableMap(body, flavorOf(mariaDB))
		if err != nil {
			return
		}
		tm.WrittenBy(version)
		if !tm.Same(body) {
			t.Error("not the same as itself")
		}
		table, err := tm.Table(nil)
		if err != nil {
			return
		}
		if len(table.Columns) != len(tm.Columns) {
			t.Errorf("%d columns in the table, %d in the rows", len(table.Columns), len(tm.Columns))
		}
		for _, column := range table.Key {
			if column < 0 || column >= len(table.Columns) {
				t.Errorf("key column %d", column)
			}
		}
	})
}

var errEndless = errors.New("the walk does not move on")

// FuzzRows walks the rows of any event with any table map.
func FuzzRows(f *testing.F) {
	addRecorded(f, func(tableMap []byte, kind byte, rows []byte, mariaDB bool) { f.Add(tableMap, kind, rows, mariaDB) })
	f.Fuzz(func(t *testing.T, tableMap []byte, kind byte, body []byte, mariaDB bool) {
		tm, err := rowimage.ParseTableMap(tableMap, flavorOf(mariaDB))
		if err != nil {
			return
		}
		rows, err := rowimage.ParseRows(kind, body)
		if err != nil {
			return
		}
		if err := walkAll(tm, rows); errors.Is(err, errEndless) {
			t.Error(err)
		}
	})
}

func walkAll(tm *rowimage.TableMap, rows *rowimage.RowsEvent) (err error) {
	const rowsMax = 20 // rows of no columns take no bytes
	before, after := make([]rowimage.Cell, len(tm.Columns)), make([]rowimage.Cell, len(tm.Columns))
	data := rows.Data
	for range rowsMax {
		if len(data) == 0 {
			return nil
		}
		was := len(data)
		if rows.Before != nil {
			if data, err = tm.Image(rows.Before, data, before); err != nil {
				return err
			}
			decodeAll(tm, before)
		}
		if rows.After != nil {
			if rows.Partial {
				data, err = tm.AfterPartial(before, rows.After, data, after)
			} else {
				data, err = tm.Image(rows.After, data, after)
			}
			if err != nil {
				return err
			}
			decodeAll(tm, after)
		}
		if len(data) > was {
			return errEndless
		}
	}
	return nil
}

func decodeAll(tm *rowimage.TableMap, cells []rowimage.Cell) {
	for i, cell := range cells {
		if _, err := tm.Value(i, cell); err != nil {
			continue // an error is a right answer to such bytes
		}
	}
}
