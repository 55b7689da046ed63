package floor

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// LoadOptions say what Load writes.
type LoadOptions struct {
	// From is read into memory first, as the statements that write it.
	From Table
	// To must be there and have From's columns and keys.
	To Table
	// Rows bounds how many; 0 is all.
	Rows int
	// RowsPerStatement is how many rows are written by one statement and transaction; 0 is 500, which is what Sluice's MySQL sink has.
	RowsPerStatement int
	// Connections is how many write side by side, each every nth row; 0 is 1.
	Connections int
}

const rowsPerStatement = 500

// Load writes the rows of a table into another one by plain statements of many rows.
func Load(ctx context.Context, o LoadOptions) (Result, error) {
	if o.RowsPerStatement == 0 {
		o.RowsPerStatement = rowsPerStatement
	}
	o.Connections = max(o.Connections, 1)
	if o.RowsPerStatement < 1 {
		return Result{}, fmt.Errorf("rows of a statement: %d; want 1 or more", o.RowsPerStatement)
	}
	w, err := o.prepare(ctx)
	if err != nil {
		return Result{}, err
	}
	db, err := o.To.open(o.Connections)
	if err != nil {
		return Result{}, err
	}
	defer db.Close()
	conns, err := connect(ctx, db, o.Connections)
	if err != nil {
		return Result{}, err
	}
	c := startClock()
	err = sideBySide(o.Connections, func(i int) error {
		for _, statement := range w.statements[i] {
			if _, err := conns[i].ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("write to table %s: %w", o.To, err)
			}
		}
		return nil
	})
	if err != nil {
		return Result{}, err
	}
	return c.result("load", w.rows, w.bytes), nil
}

// connect opens the connections before the clock runs.
func connect(ctx context.Context, db *sql.DB, n int) ([]*sql.Conn, error) {
	conns := make([]*sql.Conn, n)
	for i := range conns {
		conn, err := db.Conn(ctx)
		if err != nil {
			return nil, err
		}
		conns[i] = conn // closed with the pool
	}
	return conns, nil
}

// sideBySide runs n functions at once and returns when all have ended.
func sideBySide(n int, run func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = run(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// statements are the work of a load, by connection.
type statements struct {
	to          Table
	perEach     int
	statements  [][]string
	open        []strings.Builder // the statement that is being written
	inOpen      []int             // its rows
	rows, bytes int64
}

func (o *LoadOptions) prepare(ctx context.Context) (*statements, error) {
	w := &statements{to: o.To, perEach: o.RowsPerStatement,
		statements: make([][]string, o.Connections), open: make([]strings.Builder, o.Connections), inOpen: make([]int, o.Connections)}
	var head, tail string
	err := o.From.eachRow(ctx, o.Rows, func(columns []column, row []sql.RawBytes) error {
		if head == "" {
			head, tail = w.around(columns)
		}
		return w.add(head, tail, columns, row)
	})
	for i := range w.open {
		w.close(i, tail)
	}
	return w, err
}

// around is what stands before and after the rows of a statement.
func (w *statements) around(columns []column) (head, tail string) {
	var names, updates []string
	for _, c := range columns {
		names = append(names, quote(c.name))
		if !c.key {
			updates = append(updates, quote(c.name)+"=n."+quote(c.name))
		}
	}
	if len(updates) == 0 { // a table of nothing but its key
		updates = []string{names[0] + "=n." + names[0]}
	}
	return "INSERT INTO " + w.to.quoted() + " (" + strings.Join(names, ",") + ") VALUES ", " AS n ON DUPLICATE KEY UPDATE " + strings.Join(updates, ",")
}

func (w *statements) add(head, tail string, columns []column, row []sql.RawBytes) error {
	i := int(w.rows) % len(w.open) // as a hash of the key would spread them: no connection has the table's end for itself
	b := &w.open[i]
	if b.Len() == 0 {
		b.WriteString(head)
	} else {
		b.WriteByte(',')
	}
	before := b.Len()
	writeRow(b, columns, row)
	w.rows++
	if w.bytes += int64(b.Len() - before); w.bytes > memoryMax {
		return errTooLarge
	}
	if w.inOpen[i]++; w.inOpen[i] == w.perEach {
		w.close(i, tail)
	}
	return nil
}

func (w *statements) close(i int, tail string) {
	if w.inOpen[i] == 0 {
		return
	}
	w.open[i].WriteString(tail)
	w.statements[i] = append(w.statements[i], w.open[i].String())
	w.open[i].Reset()
	w.inOpen[i] = 0
}

// writeRow writes (1,'a',x'00',NULL).
func writeRow(b *strings.Builder, columns []column, row []sql.RawBytes) {
	b.WriteByte('(')
	for i, v := range row {
		if i > 0 {
			b.WriteByte(',')
		}
		switch {
		case v == nil:
			b.WriteString("NULL")
		case columns[i].isNumber():
			b.Write(v)
		case columns[i].isBinary():
			b.WriteString("x'")
			b.WriteString(hex.EncodeToString(v))
			b.WriteByte('\'')
		default:
			b.WriteByte('\'')
			escaper.WriteString(b, string(v))
			b.WriteByte('\'')
		}
	}
	b.WriteByte(')')
}

// escaper is for text in quotes; the connections do not have NO_BACKSLASH_ESCAPES.
var escaper = strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", `\0`, "\n", `\n`, "\r", `\r`, "\x1a", `\Z`)
