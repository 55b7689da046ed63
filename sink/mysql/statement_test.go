package mysql

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/sink"
)

// statementTable is a table of rows of about 200 bytes, spread over shards by its key, as a server would have it.
func statementTable(b testing.TB, shards int, sideTables ...string) *table {
	text := func(name string, length int) change.Column {
		return change.Column{Name: name, Type: change.Char, Length: length, Charset: "utf8mb4", Collation: "utf8mb4_bin"}
	}
	of := &change.Table{TableName: change.TableName{DB: "d", Name: "t"}, Key: []int{0}, Columns: []change.Column{
		{Name: "id", Type: change.BigInt}, {Name: "k", Type: change.Int}, text("c", 120), text("pad", 60),
		{Name: "price", Type: change.Decimal, Precision: 10, Scale: 2}, {Name: "at", Type: change.Timestamp, Scale: 3}}}
	config := Config{Routes: []route.Spec{{Table: "d.t", By: "id", Rule: route.RuleSpec{Name: "modulus"}}}, SideTables: sideTables}.withDefaults()
	for i := range shards {
		config.Shards = append(config.Shards, Shard{Name: fmt.Sprint("s", i), Database: "d"})
	}
	place, err := newPlacement(config, of)
	if err != nil {
		b.Fatal(err)
	}
	tab := &table{source: of.TableName, schema: of, placement: place, versioned: true}
	facts := &server.Facts{Flavor: gtid.MySQL, Major: 9, MaxAllowedPacket: 64 << 20}
	for i := range shards {
		s := &shard{config: config.Shards[i], version: "`_sluice_version`", index: i, facts: facts}
		st, err := newShardTable(config, s, facts, of, of, &server.TableExtras{Generated: make([]bool, len(of.Columns))})
		if err != nil {
			b.Fatal(err)
		}
		st.alone = new(sync.RWMutex)
		tab.shards, tab.names = append(tab.shards, st), append(tab.names, of.TableName)
	}
	return tab
}

// BenchmarkStatements is all that is done for a batch before the first byte goes to a server: its changes by shard, the newest
// of each key, and the statements.
func BenchmarkStatements(b *testing.B) {
	for _, shards := range []int{1, 4} {
		for _, op := range []change.Op{change.Update, change.Delete} {
			b.Run(fmt.Sprint(op, shards, "shards"), func(b *testing.B) {
				tab := statementTable(b, shards)
				batch := &sink.Batch{Group: "g", Partition: sink.Partition{Source: "src", Topic: "src.d.t", Count: 1}, Next: 1000, Changes: statementChanges(tab, op, 1000)}
				positions := make([]int64, shards)
				b.ReportAllocs()
				for b.Loop() {
					buildPackets(b, tab, batch, positions)
				}
				b.ReportMetric(float64(len(batch.Changes)), "rows/op")
			})
		}
	}
}

func statementChanges(tab *table, op change.Op, count int) []sink.Change {
	c, pad := strings.Repeat("0123456789-", 11)[:119], strings.Repeat("9876543210-", 6)[:59]
	changes := make([]sink.Change, count)
	for i := range changes {
		row := []change.Value{change.IntValue(int64(i)), change.IntValue(7), change.StringValue(c), change.StringValue(pad),
			change.StringValue("1234.56"), change.StringValue("2023-09-12 06:06:56.500")}
		changes[i] = sink.Change{Op: op, Table: tab.schema, KeyNames: []string{"id"}, KeyValues: row[:1], Key: binary.BigEndian.AppendUint64(nil, uint64(i)),
			Before: row, After: row, TrustedBefore: true, Version: change.Version(i + 1), Offset: int64(i), Bytes: 700}
		if op == change.Delete {
			changes[i].After = nil
		}
	}
	return changes
}

func buildPackets(b *testing.B, tab *table, batch *sink.Batch, positions []int64) {
	works, err := plan(tab, batch.Changes, positions, false)
	if err != nil {
		b.Fatal(err)
	}
	for i := range works {
		tx := &transaction{session: &session{shard: tab.shards[i].shard}, transfer: &transfer{table: tab, batch: batch}, work: &works[i], to: batch.Next}
		if packets, err := tx.packets(); err != nil || len(packets) != 1 {
			b.Fatal(len(packets), err)
		}
	}
}

// TestStatementsCut: whatever a packet may hold, all rows and keys are in the packets once, in order, in whole statements.
func TestStatementsCut(t *testing.T) {
	tab := statementTable(t, 1)
	st, changes := tab.shards[0], statementChanges(tab, change.Update, 1200)
	var rows []*sink.Change
	for i := range changes {
		rows = append(rows, &changes[i])
	}
	for _, bytesMax := range []int{2000, 5000, 100_000, 1 << 20} {
		out := &statements{max: bytesMax}
		out.add([]byte("BEGIN"))
		out.addDeletes(st, rows, 3)
		if err := out.addUpserts(tab, st, rows, ranks{source: 3}); err != nil {
			t.Fatal(err)
		}
		out.add([]byte("COMMIT"))
		var inserted, deleted []string
		packets := out.done()
		for i, packet := range packets {
			if len(packet) > bytesMax {
				t.Errorf("max %d: packet %d has %d bytes", bytesMax, i, len(packet))
			}
			for _, statement := range strings.Split(string(packet), ";") {
				switch {
				case strings.HasPrefix(statement, string(st.head)) && strings.HasSuffix(statement, string(st.tail)):
					inserted = append(inserted, ids(statement[len(st.head):len(statement)-len(st.tail)], `\((\d+),7,`)...)
				case strings.HasPrefix(statement, "DELETE `d`.`t` FROM `d`.`t` WHERE `_sluice_source` IN (0,3) AND (") && strings.HasSuffix(statement, "))"):
					deleted = append(deleted, ids(statement, "`id`=(\\d+) AND")...)
				case statement != "BEGIN" && statement != "COMMIT":
					t.Fatalf("max %d: %q is no whole statement", bytesMax, statement)
				}
			}
		}
		for name, got := range map[string][]string{"inserted": inserted, "deleted": deleted} {
			if len(got) != len(changes) {
				t.Fatalf("max %d: %d rows are %s, not %d", bytesMax, len(got), name, len(changes))
			}
			for i := range got {
				if got[i] != fmt.Sprint(i) {
					t.Fatalf("max %d: at place %d row %s is %s", bytesMax, i, got[i], name)
				}
			}
		}
	}
	err := (&statements{max: 300}).addUpserts(tab, st, rows, ranks{source: 3})
	if change.SeverityOf(err) != change.Poison || !strings.Contains(err.Error(), "max_allowed_packet") {
		t.Errorf("a row that no packet can hold: %v", err)
	}
}

// TestLinesComeBeforeRows: whatever a packet may hold, the lines of the side table for the same rows stand right before each INSERT of rows.
func TestLinesComeBeforeRows(t *testing.T) {
	tab := statementTable(t, 1, "*.*")
	st, changes := tab.shards[0], statementChanges(tab, change.Update, 1200)
	var rows []*sink.Change
	for i := range changes {
		rows = append(rows, &changes[i])
	}
	for _, bytesMax := range []int{2000, 5000, 100_000, 1 << 20} {
		out := &statements{max: bytesMax}
		if err := out.addUpserts(tab, st, rows, ranks{source: 3}); err != nil {
			t.Fatal(err)
		}
		var statements []string
		for i, packet := range out.done() {
			if len(packet) > bytesMax {
				t.Errorf("max %d: packet %d has %d bytes", bytesMax, i, len(packet))
			}
			statements = append(statements, strings.Split(string(packet), ";")...)
		}
		if statements[0] != savepoint {
			t.Fatalf("max %d: it begins with %q", bytesMax, statements[0])
		}
		count := 0
		for i := 1; i < len(statements); i += 2 {
			lines, written := ids(statements[i], `\((\d+),3,`), ids(statements[i+1], `\((\d+),7,`)
			if !strings.HasPrefix(statements[i], string(st.side.head)) || len(written) == 0 || !slices.Equal(lines, written) || lines[0] != fmt.Sprint(count) {
				t.Fatalf("max %d: lines of %v before rows %v, behind %d rows", bytesMax, lines, written, count)
			}
			count += len(written)
		}
		if count != len(changes) {
			t.Errorf("max %d: %d rows of %d", bytesMax, count, len(changes))
		}
	}
}

// ids returns what the pattern's group matches, one after the other.
func ids(text, pattern string) (found []string) {
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}
