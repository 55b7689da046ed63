package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/sluice-cdc/sluice/change"
)

// SelectRows runs a SELECT of the columns, in their order, each as SelectText writes it, and calls each with every row's canonical
// values, which are valid until each returns. An error of each ends it and is returned as it is.
//
// It reads from the driver itself, and by a prepared statement: as text each DOUBLE costs the server as much as half a row, and through
// database/sql every number would become text again, to be parsed again.
func SelectRows(ctx context.Context, conn *sql.Conn, statement string, columns []change.Column, each func([]change.Value) error) error {
	var broken error // each's, which is not the connection's
	err := conn.Raw(func(connection any) error {
		prepared, err := connection.(driver.ConnPrepareContext).PrepareContext(ctx, statement)
		if err != nil {
			return err
		}
		rows, err := prepared.(driver.StmtQueryContext).QueryContext(ctx, nil)
		if err == nil {
			broken, err = readRows(rows, columns, each)
			err = errors.Join(err, rows.Close())
		}
		return errors.Join(err, prepared.Close())
	})
	if broken != nil {
		return broken
	}
	return err
}

// readRows returns each's error apart from the driver's.
func readRows(rows driver.Rows, columns []change.Column, each func([]change.Value) error) (broken, err error) {
	fields := make([]driver.Value, len(columns))
	values := make([]change.Value, len(columns))
	if n := len(rows.Columns()); n != len(columns) {
		return fmt.Errorf("the SELECT has %d columns, %d are wanted", n, len(columns)), nil
	}
	for {
		switch err := rows.Next(fields); {
		case errors.Is(err, io.EOF):
			return nil, nil
		case err != nil:
			return nil, err
		}
		for i := range columns {
			if values[i], err = valueOf(&columns[i], fields[i]); err != nil {
				return fmt.Errorf("column %s: %w", columns[i].Name, err), nil
			}
		}
		if err := each(values); err != nil {
			return err, nil
		}
	}
}

// valueOf makes what the driver read a canonical value, which aliases it.
func valueOf(c *change.Column, field driver.Value) (change.Value, error) {
	switch f := field.(type) {
	case nil:
		return change.Value{}, nil
	case int64:
		switch {
		case c.Type.Integer() && c.Unsigned && f >= 0:
			return change.UintValue(uint64(f)), nil
		case c.Type.Integer() && !c.Unsigned, c.Type == change.Year:
			return change.IntValue(f), nil
		}
	case uint64:
		if c.Type.Integer() && c.Unsigned {
			return change.UintValue(f), nil
		}
	case float64:
		switch c.Type {
		case change.Float:
			return change.Float32Value(float32(f)), nil
		case change.Double:
			return change.Float64Value(f), nil
		}
	case []byte:
		return ParseText(c, f)
	}
	return change.Value{}, fmt.Errorf("the driver read %T, which is no %s", field, c.Type)
}
