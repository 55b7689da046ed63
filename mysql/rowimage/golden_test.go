package rowimage_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/testbed"
)

var update = flag.Bool("update", false, "record testdata/events-*.txt anew from real servers")

// goldenPath is a file of recorded events: lines "version <text>", "event <type> <body in hex>" and, after each
// rows event, "before ..." and "after ..." for its images.
func goldenPath(version testbed.MySQLVersion) string {
	return filepath.Join("testdata", "events-"+string(version)+".txt")
}

// TestRecordedEvents decodes events that real servers wrote, without a server. -update records them anew; that
// they are decoded right is what the tests against servers say.
func TestRecordedEvents(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			if *update {
				record(t, version)
			}
			content, err := os.ReadFile(goldenPath(version))
			if err != nil {
				t.Fatal(err)
			}
			s := &server{t: t, m: &testbed.MySQL{}}
			if version.IsMariaDB() {
				s.flavor = gtid.MariaDB
			}
			var got strings.Builder
			var maps []rawEvent
			for _, event := range readRecorded(t, s, string(content), &got) {
				fmt.Fprintf(&got, "event %d %x\n", event.kind, event.body)
				if event.kind == tableMapEvent {
					maps = append(maps, event)
					continue
				}
				printChanges(&got, s.decode(append(maps, event)))
			}
			if diff := cmp.Diff(string(content), got.String()); diff != "" {
				t.Errorf("(-recorded +decoded):\n%s", diff)
			}
		})
	}
}

func printChanges(b *strings.Builder, changes []rowChange) {
	for _, one := range changes {
		if one.before != nil {
			fmt.Fprintf(b, "before %q\n", one.before)
		}
		if one.after != nil {
			fmt.Fprintf(b, "after %q\n", one.after)
		}
	}
}

// readRecorded gives a file's table map and rows events.
func readRecorded(t *testing.T, s *server, content string, got *strings.Builder) []rawEvent {
	t.Helper()
	var events []rawEvent
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		switch fields[0] {
		case "version":
			s.m.Version = fields[1]
			got.WriteString(line)
		case "event":
			kind, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			body, err := hex.DecodeString(fields[2])
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, rawEvent{kind: byte(kind), body: body})
		}
	}
	return events
}

// record writes a few rows of all types and stores their events.
func record(t *testing.T, version testbed.MySQLVersion) {
	t.Helper()
	flags := []string{"log_bin_compress=ON", "log_bin_compress_min_len=600"}
	if !version.IsMariaDB() {
		flags = []string{"binlog_row_value_options=PARTIAL_JSON"}
	}
	s := startServer(t, version, flags...)
	r := rand.New(rand.NewPCG(1, 1)) // the same rows each time
	kinds := kindsFor(version, columnKinds())
	definitions := []string{"id INT PRIMARY KEY"}
	for i, k := range kinds {
		if strings.Contains(k.definition, "BLOB") || strings.Contains(k.definition, "BINARY(") {
			kinds[i].value = bytesOf(7) // keep the file small
		}
		definitions = append(definitions, fmt.Sprintf("c%d %s NULL", i, k.definition))
	}
	s.exec("CREATE TABLE t (" + strings.Join(definitions, ", ") + ")")
	if !version.IsMariaDB() {
		s.exec("CREATE TABLE j (id INT PRIMARY KEY, d JSON)",
			`INSERT INTO j VALUES (1, '{"a": [1, 2.5, {"b": "text"}], "long": "0123456789012345678901234567890123456789"}')`)
	}
	events := s.during(func() {
		for id := range 3 {
			values := []string{fmt.Sprint(id)}
			for _, k := range kinds {
				value := k.value(r)
				if id == 2 {
					value = "NULL"
				}
				values = append(values, value)
			}
			s.exec("INSERT INTO t VALUES (" + strings.Join(values, ", ") + ")")
		}
		s.exec("UPDATE t SET id = id + 10", "DELETE FROM t WHERE id < 11")
		if !version.IsMariaDB() {
			s.exec("UPDATE j SET d = JSON_SET(d, '$.a[2].b', 'other', '$.a[0]', -1, '$.z', 1e100)", "UPDATE j SET d = JSON_REMOVE(d, '$.a[1]')")
		}
	})
	var b strings.Builder
	fmt.Fprintf(&b, "version %s\n", s.m.Version)
	var maps []rawEvent
	for _, event := range events {
		if event.kind != tableMapEvent && !rowimage.IsRows(event.kind) {
			continue
		}
		fmt.Fprintf(&b, "event %d %x\n", event.kind, event.body)
		if event.kind == tableMapEvent {
			maps = append(maps, event)
			continue
		}
		printChanges(&b, s.decode(append(maps, event)))
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goldenPath(version), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
