package shape

import (
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
)

func drivers() *change.Table {
	return &change.Table{
		TableName: change.TableName{DB: "shop", Name: "drivers"},
		Columns: []change.Column{
			{Name: "id", Type: change.BigInt, Unsigned: true},
			{Name: "Area", Type: change.VarChar, Length: 20, Nullable: true},
			{Name: "rate", Type: change.Double},
			{Name: "flags", Type: change.Bit, Length: 12},
			{Name: "price", Type: change.Decimal, Precision: 10, Scale: 2},
		},
		Key: []int{0},
	}
}

func TestEval(t *testing.T) {
	row := []change.Value{
		change.UintValue(1007), change.StringValue("Seoul"), change.Float64Value(2.5),
		change.RawValue([]byte{0x01, 0x02}), change.StringValue("12.50"),
	}
	tests := []struct {
		text    string
		want    change.Value
		columns []int
	}{
		{"id", change.UintValue(1007), []int{0}},
		{"ID", change.UintValue(1007), []int{0}},
		{"id % 100", change.IntValue(7), []int{0}},
		{"int(id / 1000)", change.IntValue(1), []int{0}},
		{"lower(area) + ':' + string(id)", change.StringValue("seoul:1007"), []int{0, 1}},
		{"crc32(Area)", change.IntValue(1269966747), []int{1}},
		{"rate * 2", change.Float64Value(5), []int{2}},
		{"flags + 1", change.IntValue(0x103), []int{3}},
		{"int(float(price))", change.IntValue(12), []int{4}},
		{"id > 1000", change.IntValue(1), []int{0}},
		{"let x = id + 1; x * 2", change.IntValue(2016), []int{0}},
	}
	for _, test := range tests {
		e, err := Compile(test.text, drivers())
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		got, err := e.Eval(row)
		if test.text == "crc32(Area)" {
			if err != nil || got.Kind != change.Int64 || got.Int() <= 0 {
				t.Errorf("%s = %v, %v", test.text, got, err)
			}
			continue
		}
		if err != nil || !got.Equal(test.want) {
			t.Errorf("%s = %v (%v), want %v", test.text, got, err, test.want)
		}
		if len(e.Columns()) != len(test.columns) || e.Columns()[0] != test.columns[0] {
			t.Errorf("%s reads columns %v, want %v", test.text, e.Columns(), test.columns)
		}
	}
}

func TestEvalNull(t *testing.T) {
	row := make([]change.Value, 5)
	e, err := Compile("Area ?? 'none'", drivers())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.Eval(row); err != nil || got.String() != "none" {
		t.Errorf("NULL ?? 'none' = %v, %v", got, err)
	}
	for text, want := range map[string]int64{"Area == 'x' ? 1 : 2": 2, "Area != 'x' ? 1 : 2": 1, "Area == nil ? 1 : 2": 1, "Area in ['x'] ? 1 : 2": 2, "id == 5 ? 1 : 2": 2} {
		e, err := Compile(text, drivers())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := e.Eval(row); err != nil || got.Int() != want {
			t.Errorf("%s of NULL = %v, %v; want %d", text, got, err, want)
		}
	}
	e, err = Compile("lower(Area)", drivers())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.Eval(row); err == nil {
		t.Errorf("lower(NULL) = %v, want an error", got)
	}
}

// A number that an int does not hold must not wrap: the row would go to another shard than MySQL's own
// arithmetic says.
func TestEvalTooLarge(t *testing.T) {
	e, err := Compile("id % 4", drivers())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.Eval([]change.Value{change.UintValue(1<<63 + 5)}); err == nil {
		t.Errorf("got %v, want an error", got)
	}
}

func TestCompileRefuses(t *testing.T) {
	tests := []struct{ text, want string }{
		{"user", `column "user" is not in shop.drivers (id, Area, rate, flags, price)`},
		{"user + 1", `column "user" is not in shop.drivers (id, Area, rate, flags, price)`},
		{"now().Unix() + id", "now"},
		{"$env", "$env"},
		{"1 + 2", "reads no column"},
		{"id +", "unexpected token"},
		{"Area % 2", "mismatched types"},
	}
	for _, test := range tests {
		if _, err := Compile(test.text, drivers()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.text, err, test.want)
		}
	}
}
