package verify

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

var update = flag.Bool("update", false, "write the golden files anew")

func placed(t *testing.T, shard string, version change.Version, row sink.Row) Place {
	row.Shard = shard
	return Place{Shard: shard, Sum: sum(t, row), Columns: row.Columns, Values: row.Values, Version: version}
}

// TestPrint: what a person reads of a report. It is looked at by eye when it changes: go test ./verify -run TestPrint -update.
func TestPrint(t *testing.T) {
	const version = 1_779_000_000_123_456
	result := TableResult{Table: "shop.exact", Topic: "shop.shop.exact", KeyColumns: []string{"region", "id"}, SourceRows: 1234567, TargetRows: 1234568, LookedAgain: 37, Seconds: 4.26}
	differ := func(id uint64, want, found []Place) {
		kind, ok := Judge(want, found)
		if ok {
			t.Fatalf("row %d does not differ", id)
		}
		d := Difference{Key: []string{"eu", change.UintValue(id).String()}, Kind: kind}
		d.show(exact(), want, found)
		result.add(&TableResult{Differences: 1, Kinds: map[Kind]int64{kind: 1}, Rows: []Difference{d}})
	}
	right := placed(t, "s0", 0, exactRow("", change.Value{}))
	long := strings.Repeat("the same for long ", 40)
	differ(1, []Place{right}, []Place{placed(t, "s0", version, exactRow("note", change.StringValue("a ")))})
	differ(2, []Place{right}, []Place{placed(t, "s0", version, exactRow("note", change.Value{}))})
	differ(3, []Place{placed(t, "s0", 0, exactRow("note", change.StringValue(long+"a")))}, []Place{placed(t, "s0", version, exactRow("note", change.StringValue(long+"b")))})
	differ(4, []Place{right}, nil)
	differ(5, nil, []Place{placed(t, "s1", 0, exactRow("", change.Value{}))})
	differ(6, []Place{right}, []Place{placed(t, "s1", version, exactRow("", change.Value{}))})
	differ(7, []Place{right}, []Place{placed(t, "s0", version, exactRow("", change.Value{})), placed(t, "s1", version, exactRow("body", change.RawValue(nil)))})
	differ(8, []Place{right}, nil)
	report := &Report{Group: "shards", Seconds: 5.04, Differences: result.Differences, Undecided: 2, Tables: []TableResult{
		{Table: "shop.customers", SourceRows: 50112, TargetRows: 50112, Seconds: 0.31}, result}}
	var out strings.Builder
	if err := report.Print(&out, 7); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "report.txt")
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("%s is not what is printed (-golden +now):\n%s", file, diff)
	}
}

func TestRepairs(t *testing.T) {
	report := &Report{Tables: []TableResult{{Table: "shop.a", Topic: "s.shop.a", Source: "s"}, {Table: "shop.b", Topic: "s.shop.b", Source: "s"}}}
	for i := range 2*repairKeys + 1 {
		report.Tables[1].Rows = append(report.Tables[1].Rows, Difference{Key: []string{change.IntValue(int64(i)).String(), `a"b`}})
	}
	repairs, err := Repairs(report, "me@here")
	if err != nil || len(repairs) != 3 {
		t.Fatalf("%d repairs (%v), want 3: a table without differences has none", len(repairs), err)
	}
	keys := 0
	for _, r := range repairs {
		keys += r.Keys
		if r.Keys > repairKeys || len(r.Signal.Keys) > repairBytes || r.Signal.Table != "shop.b" || r.Signal.By != "me@here" || r.Source != "s" {
			t.Errorf("%+v", r)
		}
	}
	if want := `[["2000","a\"b"]]`; keys != 2*repairKeys+1 || repairs[2].Signal.Keys != want {
		t.Errorf("%d keys, the last are %s, want %s", keys, repairs[2].Signal.Keys, want)
	}
}
