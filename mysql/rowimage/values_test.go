package rowimage

import (
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
)

func TestDecimal(t *testing.T) {
	for _, test := range []struct {
		data             string
		precision, scale int
		want             string
	}{
		{"\x80", 1, 0, "0"},
		{"\x7a", 1, 0, "-5"},
		{"\x81\x0d\xfb\x38\xd2\x04\xd2", 14, 4, "1234567890.1234"},
		{"\x7e\xf2\x04\xc7\x2d\xfb\x2d", 14, 4, "-1234567890.1234"},
		{"\x80\x00\x00\x00\x00\x01", 12, 2, "0.01"},
		{"\x80\x00\x00\x01\x00\x00\x00\x01", 18, 9, "1.000000001"},
		{"\x85", 1, 1, "0.5"},
	} {
		got, err := AppendDecimal([]byte("x"), []byte(test.data), test.precision, test.scale)
		if err != nil || string(got) != "x"+test.want {
			t.Errorf("DECIMAL(%d,%d) % x is %q, %v; want %q", test.precision, test.scale, test.data, got, err, test.want)
		}
	}
	for _, test := range []struct {
		data             string
		precision, scale int
	}{{"", 5, 0}, {"\x80\x00", 5, 2}, {"\x80", 0, 0}, {"\x80", 66, 0}, {"\x80", 5, 6}, {"\x8a", 1, 0}, {"\xbb\x9a\xca\x00", 9, 0}} {
		if got, err := AppendDecimal([]byte("kept"), []byte(test.data), test.precision, test.scale); err == nil || string(got) != "kept" {
			t.Errorf("DECIMAL(%d,%d) % x is %q, %v", test.precision, test.scale, test.data, got, err)
		}
	}
}

func TestTimes(t *testing.T) {
	for _, test := range []struct {
		column change.Column
		data   string
		want   string
	}{
		{change.Column{Type: change.Time}, "\x80\x00\x00", "00:00:00"},
		{change.Column{Type: change.Time, Scale: 2}, "\x7f\xff\xff\xff", "-00:00:00.01"},
		{change.Column{Type: change.Time, Scale: 2}, "\x7f\xff\xff\x9d", "-00:00:00.99"},
		{change.Column{Type: change.Time, Scale: 2}, "\x7f\xff\xff\x00", "-00:00:01.00"},
		{change.Column{Type: change.Time, Scale: 1}, "\x7f\xff\xfe\xf6", "-00:00:01.1"},
		{change.Column{Type: change.Time, Scale: 6}, "\x7f\xff\xff\xff\xff\xff", "-00:00:00.000001"},
		{change.Column{Type: change.Date}, "\x00\x00\x00", "0000-00-00"},
		{change.Column{Type: change.Date}, "\x21\xd0\x0f", "2024-01-01"},
		{change.Column{Type: change.DateTime}, "\x80\x00\x00\x00\x00", "0000-00-00 00:00:00"},
		{change.Column{Type: change.DateTime, Scale: 3}, "\x99\xb2\x42\x30\xc5\x13\x88", "2024-01-01 03:03:05.500"},
		{change.Column{Type: change.Timestamp, Scale: 3}, "\x00\x00\x00\x00\x00\x00", "0000-00-00 00:00:00.000"},
		{change.Column{Type: change.Timestamp}, "\xff\xff\xff\xff", "2106-02-07 06:28:15"},
	} {
		got, err := valueOf(&test.column, []byte(test.data))
		if err != nil || got.String() != test.want {
			t.Errorf("%s(%d) % x is %q, %v; want %q", test.column.Type, test.column.Scale, test.data, got, err, test.want)
		}
	}
	for _, test := range []struct {
		column change.Column
		data   string
	}{
		{change.Column{Type: change.Date}, "\x00\x00"},
		{change.Column{Type: change.Time, Scale: 3}, "\x80\x00\x00"},
		{change.Column{Type: change.Time, Scale: 7}, "\x80\x00\x00\x00\x00\x00\x00"},
		{change.Column{Type: change.DateTime}, "\x7f\x00\x00\x00\x00"},
		{change.Column{Type: change.DateTime, Scale: 6}, "\x80\x00\x00\x00\x00\xff\xff\xff"},
		{change.Column{Type: change.Timestamp, Scale: 2}, "\x00\x00\x00\x00\xff"},
		{change.Column{Type: change.Enum, Elements: []string{"a"}}, "\x02"},
		{change.Column{Type: change.Set, Elements: []string{"a"}}, "\x02"},
		{change.Column{Type: change.VarChar, Charset: "klingon"}, "a"},
	} {
		if got, err := valueOf(&test.column, []byte(test.data)); err == nil {
			t.Errorf("%s(%d) % x is %q", test.column.Type, test.column.Scale, test.data, got)
		}
	}
}

// TestSigns reads the signs of tables with a YEAR column as different servers write them.
func TestSigns(t *testing.T) {
	tableMap := func(bitmap byte) *TableMap {
		types := []byte{wireLong, wireYear, wireLong, wireLong}
		body := append([]byte{1, 0, 0, 0, 0, 0, 1, 0, 1, 'd', 0, 1, 't', 0, byte(len(types))}, types...)
		body = append(body, 0, 0, metaSignedness, 1, bitmap, metaColumnName, 8, 1, 'a', 1, 'y', 1, 'b', 1, 'c')
		tm, err := ParseTableMap(body, 0)
		if err != nil {
			t.Fatal(err)
		}
		return tm
	}
	for _, test := range []struct {
		version string
		bitmap  byte
		want    string // the unsigned ones, or "?"
	}{
		{"9.7.4", 0b0110_0000, "b"},
		{"8.0.20", 0b0101_0000, "c"},
		{"", 0b1100_0000, "a"},
		{"8.0.15-log", 0b0110_0000, "bc"},
		{"5.7.22", 0b0010_0000, "c"},
		{"8.0.17", 0b0010_0000, "c"}, // YEAR's bit would be 0
		{"8.0.19", 0b0101_0000, "c"}, // there would be a bit too many
		{"8.0.18", 0b0110_0000, "?"}, // b with YEAR counted, b and c without
		{"8.0.16", 0b0000_0000, ""},
	} {
		tm := tableMap(test.bitmap)
		tm.WrittenBy(test.version)
		table, err := tm.Table([]string{"a"})
		if err != nil {
			if test.want != "?" || change.SeverityOf(err) != change.Poison {
				t.Errorf("%s %08b: %v", test.version, test.bitmap, err)
			}
			continue
		}
		var got strings.Builder
		for i := range table.Columns {
			if table.Columns[i].Unsigned {
				got.WriteString(table.Columns[i].Name)
			}
		}
		if got.String() != test.want {
			t.Errorf("%s %08b: unsigned are %q, want %q", test.version, test.bitmap, got.String(), test.want)
		}
	}
	if _, err := tableMap(0).Table([]string{"nope"}); change.SeverityOf(err) != change.Poison {
		t.Errorf("a key of no column: %v", err)
	}
}

func TestBrokenEvents(t *testing.T) {
	for name, body := range map[string][]byte{
		"empty":            {},
		"half a name":      {1, 0, 0, 0, 0, 0, 1, 0, 9, 'd'},
		"too many columns": append([]byte{1, 0, 0, 0, 0, 0, 1, 0, 1, 'd', 0, 1, 't', 0, 0xfc, 0x01, 0x10}, make([]byte, 8000)...),
		"unknown type":     {1, 0, 0, 0, 0, 0, 1, 0, 1, 'd', 0, 1, 't', 0, 1, 99, 0, 0},
		"old decimal":      {1, 0, 0, 0, 0, 0, 1, 0, 1, 'd', 0, 1, 't', 0, 1, wireDecimal, 0, 0},
		"no metadata":      {1, 0, 0, 0, 0, 0, 1, 0, 1, 'd', 0, 1, 't', 0, 1, wireBlob, 0, 0},
		"blob of 9":        {1, 0, 0, 0, 0, 0, 1, 0, 1, 'd', 0, 1, 't', 0, 1, wireBlob, 1, 9, 0},
		"time(7)":          {1, 0, 0, 0, 0, 0, 1, 0, 1, 'd', 0, 1, 't', 0, 1, wireTime2, 1, 7, 0},
		"bit(0)":           {1, 0, 0, 0, 0, 0, 1, 0, 1, 'd', 0, 1, 't', 0, 1, wireBit, 2, 0, 0, 0},
	} {
		if _, err := ParseTableMap(body, 0); err == nil {
			t.Errorf("%s: is read", name)
		}
	}
	for name, body := range map[string][]byte{
		"empty":          {},
		"short extra":    {1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 1},
		"extra too long": {1, 0, 0, 0, 0, 0, 1, 0, 9, 0, 1, 1},
		"no bitmap":      {1, 0, 0, 0, 0, 0, 1, 0, 2, 0, 9, 1},
		"NULL columns":   {1, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0xfb},
	} {
		if _, err := ParseRows(eventWriteV2, body); err == nil {
			t.Errorf("%s: is read", name)
		}
	}
	if _, err := ParseRows(19, nil); err == nil {
		t.Error("a table map is read as rows")
	}
	for name, data := range map[string][]byte{
		"empty": {}, "no size": {0x84, 1}, "algorithm 1": {0x91, 1, 0}, "not compressed": {0x01, 1, 0}, "no stream": {0x81, 1},
		"a gigabyte": {0x84, 0xff, 0xff, 0xff, 0xff, 0x78, 0x9c, 3, 0, 0, 0, 0, 1},
	} {
		if _, err := uncompressEvent(data); err == nil {
			t.Errorf("%s: is read", name)
		}
	}
}
