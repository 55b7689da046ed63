package rig

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"sort"
	"strings"
)

// Place is one table on one server.
type Place struct {
	Name     string // for people: "source", "shard0"
	DB       *sql.DB
	Database string
}

// Difference is one key whose rows are not the same.
type Difference struct {
	Key    string
	Source string // the row's text at the source, empty when it has none
	Target string // at the targets, with the places that hold it
}

// Comparison is what Compare has found for one table.
type Comparison struct {
	Table       string
	Source      int
	Targets     []int // rows of each target
	Differences int
	Examples    []Difference // the first few
}

// row is what is kept of a row while the other side is read: its content by hash and where it was found.
type row struct {
	sum   [16]byte
	place int
}

const examplesMax = 5

// Compare holds the table at the source against all targets together: each row must be in exactly one of them, equal in every
// column of the source, byte for byte. Nothing may be written meanwhile.
func Compare(ctx context.Context, source Place, targets []Place, table string) (*Comparison, error) {
	described, key, err := columnsOf(ctx, source, table)
	if err != nil {
		return nil, err
	}
	columns := expressions(described)
	c := &Comparison{Table: table, Targets: make([]int, len(targets))}
	held := make(map[string]row)
	differ := make(map[string]bool)
	for i, t := range targets {
		err := eachRow(ctx, t, table, columns, key, func(k string, content []byte) {
			c.Targets[i]++
			if _, twice := held[k]; twice {
				differ[k] = true // two shards hold it
			}
			held[k] = row{sum16(content), i}
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name, err)
		}
	}
	err = eachRow(ctx, source, table, columns, key, func(k string, content []byte) {
		c.Source++
		h, ok := held[k]
		if !ok || h.sum != sum16(content) {
			differ[k] = true
		}
		delete(held, k)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source.Name, err)
	}
	for k := range held {
		differ[k] = true
	}
	c.Differences = len(differ)
	c.Examples, err = examples(ctx, differ, source, targets, table, columns, key)
	return c, err
}

func sum16(b []byte) (s [16]byte) {
	full := sha256.Sum256(b)
	copy(s[:], full[:])
	return s
}

// column is one column of a table.
type column struct {
	name string
	kind string // DATA_TYPE
}

// expressions returns what reads the columns so that nothing of them is rounded or bent: the text of a FLOAT has six digits
// only, that of a DOUBLE(M,D) as many as it was declared with; as a plain DOUBLE both are exact, and -0 stays what it is.
// ZEROFILL, which is about how a number is shown, falls away.
func expressions(columns []column) []string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = "`" + strings.ReplaceAll(c.name, "`", "``") + "`"
		switch c.kind {
		case "float", "double":
			list[i] += " * 1e0"
		case "decimal":
			list[i] += " + 0"
		}
	}
	return list
}

// columnsOf returns the table's columns, those of its key first and in its order, and how many these are.
func columnsOf(ctx context.Context, p Place, table string) (columns []column, key int, err error) {
	rows, err := p.DB.QueryContext(ctx, `SELECT c.COLUMN_NAME, c.DATA_TYPE, COALESCE(k.SEQ_IN_INDEX, 0) FROM information_schema.COLUMNS c
		LEFT JOIN information_schema.STATISTICS k ON k.TABLE_SCHEMA = c.TABLE_SCHEMA AND k.TABLE_NAME = c.TABLE_NAME
			AND k.COLUMN_NAME = c.COLUMN_NAME AND k.INDEX_NAME = 'PRIMARY'
		WHERE c.TABLE_SCHEMA = ? AND c.TABLE_NAME = ? ORDER BY k.SEQ_IN_INDEX IS NULL, k.SEQ_IN_INDEX, c.ORDINAL_POSITION`, p.Database, table)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, kind string
		var seq int
		if err := rows.Scan(&name, &kind, &seq); err != nil {
			return nil, 0, err
		}
		if seq > 0 {
			key++
		}
		columns = append(columns, column{name, kind})
	}
	if len(columns) == 0 {
		return nil, 0, fmt.Errorf("table %s.%s is not there", p.Database, table)
	}
	return columns, key, rows.Err()
}

// eachRow gives each row's key and its whole content, as unambiguous bytes.
func eachRow(ctx context.Context, p Place, table string, columns []string, key int, each func(key string, content []byte)) error {
	rows, err := p.DB.QueryContext(ctx, selectRows(p, table, columns))
	if err != nil {
		return err
	}
	defer rows.Close()
	values := make([]sql.RawBytes, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	var content []byte
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		content = content[:0]
		var k string
		for i, v := range values {
			if i == key {
				k = string(content)
			}
			if v == nil {
				content = append(content, "N;"...)
				continue
			}
			content = fmt.Appendf(content, "%d:", len(v))
			content = append(append(content, v...), ';')
		}
		if key == len(columns) {
			k = string(content)
		}
		each(k, content)
	}
	return rows.Err()
}

func selectRows(p Place, table string, columns []string) string {
	return fmt.Sprintf("SELECT %s FROM `%s`.`%s`", strings.Join(columns, ", "), p.Database, table)
}

// examples reads the first few differing rows again, as text.
func examples(ctx context.Context, differ map[string]bool, source Place, targets []Place, table string, columns []string, key int) ([]Difference, error) {
	keys := make([]string, 0, len(differ))
	for k := range differ {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	if len(keys) > examplesMax {
		keys = keys[:examplesMax]
	}
	found := make(map[string]*Difference)
	for _, k := range keys {
		found[k] = &Difference{Key: k}
	}
	for i, p := range append([]Place{source}, targets...) {
		if len(keys) == 0 {
			break
		}
		err := eachRow(ctx, p, table, columns, key, func(k string, content []byte) {
			d := found[k]
			switch {
			case d == nil:
			case i == 0:
				d.Source = string(content)
			default:
				d.Target += p.Name + ": " + string(content) + " "
			}
		})
		if err != nil {
			return nil, err
		}
	}
	out := make([]Difference, len(keys))
	for i, k := range keys {
		out[i] = *found[k]
	}
	return out, nil
}
