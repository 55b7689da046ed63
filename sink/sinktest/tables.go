package sinktest

import "github.com/sluice-cdc/sluice/change"

const (
	textCharset   = "utf8mb4"
	textCollation = "utf8mb4_bin"
)

func varchar(name string, length int, nullable bool) change.Column {
	return change.Column{Name: name, Type: change.VarChar, Length: length, Nullable: nullable, Charset: textCharset,
		Collation: textCollation}
}

// plainTable is a table with nothing special.
func plainTable() Table {
	return Table{Table: &change.Table{
		TableName: change.TableName{DB: "suite", Name: "plain"},
		Columns: []change.Column{
			{Name: "id", Type: change.BigInt},
			varchar("code", 20, true),
			{Name: "a", Type: change.Int},
			{Name: "b", Type: change.Int, Nullable: true},
		},
		Key: []int{0},
	}}
}

// uniqueTable has two secondary unique keys, one of them over two columns, with columns that may be NULL.
func uniqueTable() Table {
	t := plainTable()
	t.Name = "uniques"
	t.Uniques = [][]string{{"code"}, {"a", "b"}}
	return t
}

// keyedTable has a key of two columns whose order is not the columns' order.
func keyedTable() Table {
	return Table{Table: &change.Table{
		TableName: change.TableName{DB: "suite", Name: "keyed"},
		Columns: []change.Column{
			{Name: "n", Type: change.Int, Unsigned: true},
			varchar("code", 20, true),
			{Name: "a", Type: change.Int},
			{Name: "b", Type: change.Int, Nullable: true},
			varchar("k", 20, false),
		},
		Key: []int{4, 0},
	}}
}
