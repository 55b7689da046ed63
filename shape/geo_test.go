package shape

import (
	"strings"
	"testing"

	"github.com/golang/geo/s2"
	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
)

// places is a table of points: as doubles, and as decimals.
func places() *change.Table {
	return &change.Table{TableName: change.TableName{DB: "shop", Name: "places"}, Columns: []change.Column{
		{Name: "lat", Type: change.Double, Nullable: true}, {Name: "lng", Type: change.Double},
		{Name: "dlat", Type: change.Decimal, Precision: 10, Scale: 6}, {Name: "dlng", Type: change.Decimal, Precision: 10, Scale: 6},
	}}
}

func cell(t testing.TB, text string, row []change.Value) (int64, error) {
	t.Helper()
	e, err := Compile(text, places())
	if err != nil {
		t.Fatal(err)
	}
	v, err := e.Eval(row)
	return v.Int(), err
}

func TestCells(t *testing.T) {
	seoul := []change.Value{change.Float64Value(37.5665), change.Float64Value(126.978), change.StringValue("37.566500"), change.StringValue("126.978000")}
	for level := range s2.MaxLevel + 1 {
		text := "s2cell(lat, lng, " + change.IntValue(int64(level)).String() + ")"
		got, err := cell(t, text, seoul)
		if err != nil {
			t.Fatal(err)
		}
		// The cell's token is the first digits of the curve's position; the number read back is the same cell.
		if back := s2.CellID(uint64(got)<<(2*(s2.MaxLevel-level)+1) | 1<<(2*(s2.MaxLevel-level))); back != s2.CellIDFromLatLng(s2.LatLngFromDegrees(37.5665, 126.978)).Parent(level) {
			t.Errorf("level %d: %d is cell %v", level, got, back)
		}
	}
	// 1752657 is the cell that S2 calls 357ca3.
	for text, want := range map[string]int64{"s2cell(lat, lng, 0)": 1, "s2cell(lat, lng, 10)": 1752657, "s2cell(dlat, dlng, 10)": 1752657, "s2cell(float(dlat), 126.978, 10)": 1752657} {
		if got, err := cell(t, text, seoul); err != nil || got != want {
			t.Errorf("%s = %d, %v; want %d", text, got, err, want)
		}
	}
}

// TestCellsNest: the number of a cell is a quarter of those of the cells within it, and never negative.
func TestCellsNest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := []change.Value{change.Float64Value(rapid.Float64Range(-90, 90).Draw(t, "lat")), change.Float64Value(rapid.Float64Range(-180, 180).Draw(t, "lng")), {}, {}}
		level := rapid.IntRange(1, s2.MaxLevel).Draw(t, "level")
		number := func(level int) int64 {
			e, err := Compile("s2cell(lat, lng, "+change.IntValue(int64(level)).String()+")", places())
			if err != nil {
				t.Fatal(err)
			}
			v, err := e.Eval(row)
			if err != nil {
				t.Fatal(err)
			}
			return v.Int()
		}
		if inner, outer := number(level), number(level-1); inner/4 != outer || inner < 0 || inner >= 6<<(2*level) {
			t.Errorf("level %d: cell %d in cell %d", level, inner, outer)
		}
	})
}

func TestCellsRefuse(t *testing.T) {
	row := []change.Value{{}, change.Float64Value(181), change.StringValue("x"), change.StringValue("1.5")}
	for text, want := range map[string]string{
		"s2cell(lat, 1, 10)": "the latitude is NULL", "s2cell(1, lng, 10)": "the longitude 181 is not within 180", "s2cell(dlat, 1, 10)": `the latitude "x" is no number`,
		"s2cell(90.5, dlng, 10)": "the latitude 90.5 is not within 90", "s2cell(1, dlng, 31)": "level 31: want 0 to 30",
	} {
		if _, err := cell(t, text, row); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := Compile("s2cell(lat, lng)", places()); err == nil {
		t.Error("two arguments were accepted")
	}
}
