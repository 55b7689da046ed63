package chaos

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/testbed"
)

// typed is one column of the table of all types, with literals that go into it.
type typed struct {
	name, ddl string
	values    []string
}

// typed are the columns of the play: what a target of the run cannot hold is left out.
func (s Settings) typed() []typed {
	columns := typedColumns(s.Source)
	if slices.ContainsFunc(s.Shards, testbed.MySQLVersion.IsMariaDB) {
		for i := range columns { // MariaDB stores 0 for -0.0, whatever it is given
			columns[i].values = slices.DeleteFunc(columns[i].values, func(v string) bool { return v == "-0e0" })
		}
	}
	return columns
}

// typedColumns are those of a server of this version. Two servers' differ only where a target must hold the text that another
// one's JSON is, and in types that one does not have: see values.
func typedColumns(v testbed.MySQLVersion) []typed {
	json := "JSON"
	if v.IsMariaDB() { // its JSON is text of the default collation, which takes no notice of case
		json = "LONGTEXT " + binaryText
	}
	columns := []typed{
		{"ti", "TINYINT", []string{"0", "-128", "127", "NULL"}}, {"tu", "TINYINT UNSIGNED", []string{"0", "255", "NULL"}},
		{"si", "SMALLINT", []string{"-32768", "32767"}}, {"mi", "MEDIUMINT", []string{"-8388608", "8388607", "0"}},
		{"mu", "MEDIUMINT UNSIGNED", []string{"16777215", "0"}}, {"iu", "INT UNSIGNED", []string{"4294967295", "0", "NULL"}},
		{"bi", "BIGINT", []string{"-9223372036854775808", "9223372036854775807", "0"}},
		{"bu", "BIGINT UNSIGNED", []string{"18446744073709551615", "9223372036854775808", "0"}},
		{"b1", "BIT(1)", []string{"0", "1"}}, {"b37", "BIT(37)", []string{"0", "137438953471", "1", "NULL"}}, {"b64", "BIT(64)", []string{"18446744073709551615", "1"}},
		{"d1", "DECIMAL(1,1)", []string{"0.9", "-0.9", "0"}}, {"d65", "DECIMAL(65,30)", []string{"0", "-12345678901234567890.123456789", "0.000000000000000000000000000001", "NULL"}},
		{"f", "FLOAT", []string{"0", "-0e0", "3.4028234663852886e38", "1.401298464324817e-45", "0.1", "16777217"}},
		{"d", "DOUBLE", []string{"0", "-0e0", "1.7976931348623157e308", "4.9e-324", "0.1", "9007199254740993", "NULL"}},
		{"da", "DATE", []string{"'0000-00-00'", "'1000-01-01'", "'9999-12-31'", "'2024-02-31'", "NULL"}},
		{"dt0", "DATETIME", []string{"'0000-00-00 00:00:00'", "'9999-12-31 23:59:59'"}}, {"dt3", "DATETIME(3)", []string{"'2024-02-29 12:34:56.789'", "NULL"}},
		{"dt6", "DATETIME(6)", []string{"'1969-12-31 23:59:59.999999'", "'2024-02-31 00:00:00.000001'"}},
		{"ts0", "TIMESTAMP NULL", []string{"'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "NULL"}},
		{"ts6", "TIMESTAMP(6) NULL", []string{"'2018-06-20 13:37:03.123456'", "'0000-00-00 00:00:00'", "NULL"}},
		{"t0", "TIME", []string{"'-838:59:59'", "'838:59:59'", "'00:00:00'"}}, {"t6", "TIME(6)", []string{"'-00:00:00.000001'", "'23:59:59.999999'", "NULL"}},
		{"y", "YEAR", []string{"0", "1901", "2155"}},
		{"c", "CHAR(8) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", []string{"''", "'é日'", "'x'"}},
		{"vl", "VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_bin", []string{"'café'", "'trail  '", "''", "NULL"}},
		{"vu", "VARCHAR(40) " + binaryText, []string{"'😀𠜎'", "' \\\\ \\' \\\" \\0 \\n'", "''", "NULL"}},
		{"bin", "BINARY(6)", []string{"x'00'", "x'6100'", "x''", "NULL"}}, {"vb", "VARBINARY(16)", []string{"x'00ff'", "x''", "x'2000'"}},
		{"tx", "TEXT " + binaryText, []string{"REPEAT('é', 300)", "''", "'x'"}}, {"mt", "MEDIUMTEXT " + binaryText, []string{"REPEAT('日', 900)", "NULL"}},
		{"tb", "TINYBLOB", []string{"x'00'", "x'ff'"}}, {"bl", "BLOB", []string{"REPEAT(x'80ff00', 500)", "x''", "NULL"}},
		{"e", "ENUM('it''s','a,b','') NOT NULL", []string{"1", "2", "3"}}, {"st", "SET('x','y','z')", []string{"0", "1", "7", "NULL"}},
		{"j", json, []string{`'{"k": [1, 2.5, "x"], "日": null}'`, "'[]'", "'null'", "'18446744073709551615'", "NULL"}},
		{"po", "POINT", []string{"ST_GeomFromText('POINT(1 2)')", "NULL"}},
		{"ge", "GEOMETRY", []string{"ST_GeomFromText('LINESTRING(0 0,1 1,2 2)')", "ST_GeomFromText('POINT(-0.0 1e300)')", "NULL"}},
	}
	return columns
}

func typesColumns(v testbed.MySQLVersion) string {
	lines := []string{"id INT NOT NULL PRIMARY KEY", "home INT NOT NULL"}
	for _, c := range typedColumns(v) {
		lines = append(lines, c.name+" "+c.ddl)
	}
	return strings.Join(lines, ", ")
}

// typedRow is a tuple; pick draws one of so many values.
func typedRow(columns []typed, id int, pick func(int) int) string {
	values := []string{strconv.Itoa(id), strconv.Itoa(pick(1000))}
	for _, c := range columns {
		values = append(values, c.values[pick(len(c.values))])
	}
	return "(" + strings.Join(values, ",") + ")"
}
