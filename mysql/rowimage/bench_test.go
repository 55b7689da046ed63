package rowimage_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/testbed"
)

// recorded gives the first table map and rows event of a recorded file.
func recorded(b *testing.B) (tm *rowimage.TableMap, body []byte) {
	b.Helper()
	content, err := os.ReadFile(goldenPath(testbed.MySQL97))
	if err != nil {
		b.Fatal(err)
	}
	var bodies [][]byte
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); fields[0] == "event" && len(bodies) < 2 {
			event, err := hex.DecodeString(fields[2])
			if err != nil {
				b.Fatal(err)
			}
			bodies = append(bodies, event)
		}
	}
	if tm, err = rowimage.ParseTableMap(bodies[0], gtid.MySQL); err != nil {
		b.Fatal(err)
	}
	return tm, bodies[1]
}

// BenchmarkImage walks a row of 91 columns of all types.
func BenchmarkImage(b *testing.B) {
	tm, body := recorded(b)
	rows, err := rowimage.ParseRows(30, body)
	if err != nil {
		b.Fatal(err)
	}
	cells := make([]rowimage.Cell, len(tm.Columns))
	b.SetBytes(int64(len(rows.Data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tm.Image(rows.After, rows.Data, cells); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSame(b *testing.B) {
	content, err := os.ReadFile(goldenPath(testbed.MySQL97))
	if err != nil {
		b.Fatal(err)
	}
	body, err := hex.DecodeString(strings.Fields(strings.Split(string(content), "\n")[1])[2])
	if err != nil {
		b.Fatal(err)
	}
	tm, err := rowimage.ParseTableMap(body, gtid.MySQL)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if !tm.Same(body) {
			b.Fatal("not the same")
		}
	}
}

func BenchmarkAppendDecimal(b *testing.B) {
	data := []byte("\x81\x0d\xfb\x38\xd2\x04\xd2")
	dst := make([]byte, 0, 100)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = rowimage.AppendDecimal(dst[:0], data, 14, 4); err != nil {
			b.Fatal(err)
		}
	}
}
