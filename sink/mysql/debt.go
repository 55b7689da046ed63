package mysql

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"strconv"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/sink"
)

// debtHash names a key in the debt table by the condition that finds its row.
func debtHash(condition []byte) []byte {
	sum := sha256.Sum256(condition)
	return sum[:16]
}

// appendOwe appends the statement which notes, in the same transaction, that the key's next change newer than above must still come: the rule
// deleted its row, or did not write it, because of change c (R5).
func (tx *transaction) appendOwe(b []byte, st *shardTable, c *sink.Change, key []change.Value, above change.Version) []byte {
	condition := st.appendKey(nil, key)
	b = append(b, "INSERT INTO "+tx.shard.qualify(debtTable)+
		" (table_name,key_hash,consumer_group,topic,source_table,key_text,key_condition,above,version) VALUES ("...)
	b = appendQuoted(b, []byte(st.name.Name))
	b = appendQuoted(append(b, ",_binary"...), debtHash(condition))
	b = appendQuoted(append(b, ','), []byte(tx.batch.Group))
	b = appendQuoted(append(b, ','), []byte(tx.batch.Topic))
	b = appendQuoted(append(b, ','), []byte(tx.table.source.String()))
	b = appendQuoted(append(b, ','), []byte(keyText(c.KeyNames, key)))
	b = appendQuoted(append(b, ",_binary"...), condition)
	return fmt.Appendf(b, ",%d,%d) ON DUPLICATE KEY UPDATE version=GREATEST(version,%d),above=GREATEST(above,%d)", above, c.Version, c.Version, above)
}

// addPayments strikes the debts of keys that are deleted: that was the change they waited for. A debt whose
// key was written again is paid too, but that can be seen of the row, and is: see Debts.
func (tx *transaction) addPayments(out *statements, st *shardTable, deletes []*sink.Change) {
	for len(deletes) > 0 {
		n := min(len(deletes), rowsPerStatementMax)
		debts := tx.shard.qualify(debtTable)
		b := appendQuoted([]byte("DELETE "+debts+" FROM "+debts+forceIndex("PRIMARY")+" WHERE table_name="), []byte(st.name.Name))
		b = append(b, " AND key_hash IN ("...) // two parts of the index, where the conditions alone would be tried one after the other for each debt
		var each []byte
		for i, c := range deletes[:n] {
			if i > 0 {
				b, each = append(b, ','), append(each, " OR "...)
			}
			hash := debtHash(st.appendKey(nil, c.KeyValues))
			b, each = fmt.Appendf(b, "x'%x'", hash), fmt.Appendf(each, "key_hash=x'%x' AND above<%d", hash, c.Version)
		}
		out.add(append(append(append(b, ") AND ("...), each...), ')'))
		deletes = deletes[n:]
	}
}

// Debts returns the debts of the group that nothing has paid yet.
func (t *Target) Debts(ctx context.Context, group string) ([]sink.Debt, error) {
	var all []sink.Debt
	for _, s := range t.shards {
		if err := s.prepareOwn(ctx); err != nil {
			return nil, err
		}
		debts, err := s.debts(ctx, group)
		if err != nil {
			return nil, s.problem(err)
		}
		all = append(all, debts...)
	}
	return all, nil
}

// storedDebt is a debt as its table has it.
type storedDebt struct {
	sink.Debt
	table     string
	condition []byte // finds the row
	hash      []byte
	above     int64
}

func (s *shard) debts(ctx context.Context, group string) ([]sink.Debt, error) {
	c, err := s.conn(ctx)
	if err != nil {
		return nil, err
	}
	defer c.release()
	list, err := c.storedDebts(ctx, group)
	if err != nil {
		return nil, err
	}
	var open []sink.Debt
	for _, d := range list {
		paid, err := c.strikePaid(ctx, &d)
		if err != nil {
			return nil, err
		}
		if !paid {
			open = append(open, d.Debt)
		}
	}
	return open, nil
}

func (c *session) storedDebts(ctx context.Context, group string) (list []storedDebt, err error) {
	query := appendQuoted([]byte("SELECT table_name,key_hash,topic,source_table,key_text,key_condition,above,version FROM "+
		c.shard.qualify(debtTable)+" WHERE consumer_group="), []byte(group))
	err = c.query(ctx, query, func(f []sql.RawBytes) (err error) {
		d := storedDebt{table: string(f[0]), hash: append([]byte(nil), f[1]...), condition: append([]byte(nil), f[5]...)}
		d.Topic, d.Shard, d.Key = string(f[2]), c.shard.config.Name, string(f[4])
		if d.Table, err = change.ParseTableName(string(f[3])); err != nil {
			return err
		}
		if d.above, err = strconv.ParseInt(string(f[6]), 10, 64); err != nil {
			return err
		}
		version, err := strconv.ParseInt(string(f[7]), 10, 64)
		if err != nil {
			return err
		}
		d.Version = change.Version(version)
		list = append(list, d)
		return err
	})
	return list, err
}

// strikePaid strikes a debt that is paid: the row is there with a newer version. Debt and row are looked at by one statement.
// Since the list was read the row may have been deleted, which took its debt with it, and of the row alone it would look
// unpaid.
func (c *session) strikePaid(ctx context.Context, d *storedDebt) (paid bool, err error) {
	debt := appendQuoted([]byte(c.shard.qualify(debtTable)+" WHERE table_name="), []byte(d.table))
	debt = fmt.Appendf(debt, " AND key_hash=x'%x' AND above=%d", d.hash, d.above)
	there := fmt.Sprintf("EXISTS (SELECT 1 FROM %s WHERE %s AND %s>%d)", c.shard.qualify(d.table), d.condition, c.shard.version, d.above)
	if c.shard.beside(d.Table) { // the condition on the key is one on the line too
		there = fmt.Sprintf("(EXISTS (SELECT 1 FROM %s WHERE %s) AND EXISTS (SELECT 1 FROM %s WHERE %[2]s AND %[4]s>%[5]d))",
			c.shard.qualify(d.table), d.condition, server.QuoteTable(c.shard.side(d.Table)), c.shard.version, d.above)
	}
	query := append(debt[:len(debt):len(debt)], " AND NOT "+there...)
	query = append([]byte("SELECT 1 FROM "), query...)
	paid = true
	if err := c.query(ctx, query, func([]sql.RawBytes) error { paid = false; return nil }); err != nil || !paid {
		return paid, err
	}
	// By the same condition that was read: the debt may have grown since.
	_, err = c.exec(ctx, append([]byte("DELETE FROM "), debt...))
	return paid, err
}
