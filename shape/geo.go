package shape

import (
	"fmt"
	"math"
	"strconv"

	"github.com/expr-lang/expr"
	"github.com/golang/geo/s2"
)

// cellFunction is s2cell(latitude, longitude, level): the number of the S2 cell of that level that holds the point, in degrees.
//
// The cells of a level are numbered along S2's Hilbert curve, from 0: there are 6 of level 0 (faces of the cube around the earth), and
// each has four of the next level, so that cell n lies in cell n/4 of the level before. A cell of level 6 is some 150 km wide, of level 10 some
// 10 km, of level 13 a bit more than 1 km. Neighbours on the curve are neighbours on the earth, so a range of numbers is a region.
var cellFunction = expr.Function("s2cell", func(params ...any) (any, error) {
	lat, err := degrees("latitude", params[0], 90)
	if err != nil {
		return nil, err
	}
	lng, err := degrees("longitude", params[1], 180)
	if err != nil {
		return nil, err
	}
	level := params[2].(int)
	if level < 0 || level > s2.MaxLevel {
		return nil, fmt.Errorf("s2cell: level %d: want 0 to %d", level, s2.MaxLevel)
	}
	id := uint64(s2.CellIDFromLatLng(s2.LatLngFromDegrees(lat, lng)).Parent(level))
	return int(id >> (2*(s2.MaxLevel-level) + 1)), nil // without the bit that marks the level, and the zeros below it
}, new(func(any, any, int) int))

// degrees reads a number, or the text of a DECIMAL.
func degrees(name string, v any, most float64) (float64, error) {
	var d float64
	switch v := v.(type) {
	case float64:
		d = v
	case int:
		d = float64(v)
	case string:
		var err error
		if d, err = strconv.ParseFloat(v, 64); err != nil {
			return 0, fmt.Errorf("s2cell: the %s %q is no number", name, v)
		}
	case nil:
		return 0, fmt.Errorf("s2cell: the %s is NULL", name)
	default:
		return 0, fmt.Errorf("s2cell: the %s is a %T", name, v)
	}
	if math.IsNaN(d) || math.Abs(d) > most {
		return 0, fmt.Errorf("s2cell: the %s %v is not within %v degrees", name, v, most)
	}
	return d, nil
}
