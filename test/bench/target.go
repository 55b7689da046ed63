package bench

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/sluice-cdc/sluice/testbed/rig"
)

// serverSum is a table's checksum as its server makes it, of each row's text in all of these columns. Both sides must be servers of one
// version, which write a number the same.
func serverSum(ctx context.Context, db *sql.DB, table string, columns []string) (s sum, err error) {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = "QUOTE(`" + c + "`)" // tells NULL from 'NULL', and where a value ends
	}
	half := func(from int) string {
		return fmt.Sprintf("COALESCE(BIT_XOR(CAST(CONV(SUBSTR(h, %d, 16), 16, 10) AS UNSIGNED)), 0)", from)
	}
	var high, low uint64
	err = db.QueryRowContext(ctx, fmt.Sprintf("SELECT COUNT(*), %s, %s FROM (SELECT SHA2(CONCAT_WS(',', %s), 256) AS h FROM %s.%s) hashed",
		half(1), half(17), strings.Join(quoted, ", "), database, table)).Scan(&s.rows, &high, &low)
	binary.BigEndian.PutUint64(s.hash[:8], high)
	binary.BigEndian.PutUint64(s.hash[8:], low)
	return s, err
}

// plus is the sum of both tables' rows.
func (s sum) plus(other sum) sum {
	s.rows += other.rows
	for i := range s.hash {
		s.hash[i] ^= other.hash[i]
	}
	return s
}

// checkTargets holds the shards together against the source's table. Where they differ it names rows.
func (b *bed) checkTargets(ctx context.Context, table string, targets ...*sql.DB) error {
	columns, err := columnNames(ctx, b.db, table)
	if err != nil {
		return err
	}
	want, err := serverSum(ctx, b.db, table, columns)
	if err != nil {
		return err
	}
	var got sum
	for _, db := range targets {
		one, err := serverSum(ctx, db, table, columns)
		if err != nil {
			return err
		}
		got = got.plus(one)
	}
	if got == want {
		return nil
	}
	return errors.Join(fmt.Errorf("the targets have %s, the source has %s: rows were lost or bent", &got, &want), b.differences(ctx, table, targets))
}

func (b *bed) differences(ctx context.Context, table string, targets []*sql.DB) error {
	var places []rig.Place
	for i, db := range targets {
		places = append(places, rig.Place{Name: fmt.Sprintf("target %d", i), DB: db, Database: database})
	}
	c, err := rig.Compare(ctx, rig.Place{Name: "source", DB: b.db, Database: database}, places, table)
	if err != nil {
		return err
	}
	return compared(c)
}

// compared is what a comparison has found, as an error.
func compared(c *rig.Comparison) error {
	if c.Differences == 0 {
		return nil
	}
	said := fmt.Sprintf("%d differences in %d rows, %v at the target", c.Differences, c.Source, c.Targets)
	for _, d := range c.Examples {
		said += fmt.Sprintf("\n  key %s: source %.200s, target %.200s", d.Key, d.Source, d.Target)
	}
	return errors.New(said)
}

// applied is how far a group of the MySQL sink has come in one shard, by partition: its progress lives with the rows.
func applied(ctx context.Context, db *sql.DB, group string) (offsets, error) {
	rows, err := db.QueryContext(ctx, "SELECT partition_number, _sluice_next FROM "+database+"._sluice_progress WHERE consumer_group = ?", group)
	if missing := new(mysql.MySQLError); errors.As(err, &missing) && (missing.Number == 1146 || missing.Number == 1049) {
		return nil, nil // no such table, no such database: it has not begun
	}
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	at := offsets{}
	for rows.Next() {
		var partition int32
		var next int64
		if err := rows.Scan(&partition, &next); err != nil {
			return nil, err
		}
		at[partition] = next
	}
	return at, rows.Err()
}

// reached reports whether all that is in a topic is applied.
func (o offsets) reached(end offsets) bool {
	for partition, offset := range end {
		if offset > 0 && o[partition] < offset {
			return false
		}
	}
	return true
}
