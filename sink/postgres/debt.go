package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// debtHash names a key in the debt table.
func debtHash(key []change.Value) []byte {
	var b []byte
	for _, v := range key {
		b = append(b, byte(v.Kind))
		b = binary.BigEndian.AppendUint64(b, v.Num)
		b = binary.AppendUvarint(b, uint64(len(v.Bytes)))
		b = append(b, v.Bytes...)
	}
	sum := sha256.Sum256(b)
	return hex.AppendEncode([]byte(`\x`), sum[:16])
}

// owe notes, in the same transaction, that the key's next change newer than above must still come: the rule deleted its row, or did
// not write it, because of change c (R5).
func (tx *transaction) owe(ctx context.Context, c *sink.Change, key []change.Value, above change.Version) error {
	text := fmt.Sprintf(`INSERT INTO %s AS d (table_name,key_hash,consumer_group,topic,source_table,key_text,above,version)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8) ON CONFLICT (table_name,key_hash) DO UPDATE SET
		version=GREATEST(d.version,excluded.version), above=GREATEST(d.above,excluded.above)`, tx.own(debtTable))
	_, err := tx.exec(ctx, statement{text, [][]byte{[]byte(tx.table.place.String()), debtHash(key), []byte(tx.batch.Group), []byte(tx.batch.Topic),
		[]byte(tx.table.source.String()), []byte(keyText(tx.table.schema.KeyNames(), key)), number(int64(above)), number(int64(c.Version))}})
	return err
}

// payments strikes the debts of the keys of the batch: this was the change that they waited for. It comes after the rows are written:
// where a holder is being deleted by another transaction, the write of its row waits for that one, and then its debt is seen. What
// this very transaction has come to owe stays: a change pays what is owed above a lower version only.
func (tx *transaction) payments() []statement {
	if tx.table == nil || len(tx.table.uniques) == 0 || len(tx.work.upserts)+len(tx.work.deletes) == 0 {
		return nil
	}
	hashes, above := []byte{'{'}, []byte{'{'}
	for _, list := range [][]*sink.Change{tx.work.upserts, tx.work.deletes} {
		for _, c := range list {
			if len(hashes) > 1 {
				hashes, above = append(hashes, ','), append(above, ',')
			}
			hashes = append(append(append(hashes, `"\`...), debtHash(c.KeyValues)...), '"')
			above = strconv.AppendInt(above, int64(c.Version), 10)
		}
	}
	return []statement{{"DELETE FROM " + tx.own(debtTable) + " AS d USING unnest($2::bytea[],$3::bigint[]) AS n(h,v) WHERE d.table_name=$1 AND d.key_hash=n.h AND d.above<n.v",
		[][]byte{[]byte(tx.table.place.String()), append(hashes, '}'), append(above, '}')}}}
}

// Debts returns the debts of the group that nothing has paid yet.
func (t *Target) Debts(ctx context.Context, group string) (open []sink.Debt, err error) {
	if err := t.server.prepareOwn(ctx); err != nil {
		return nil, err
	}
	err = t.server.withSession(ctx, func(c *session) error {
		query := statement{"SELECT version,topic,source_table,key_text FROM " + c.own(debtTable) + " WHERE consumer_group=$1", [][]byte{[]byte(group)}}
		return c.query(ctx, query, func(f [][]byte) error {
			version, err := strconv.ParseInt(string(f[0]), 10, 64)
			if err != nil {
				return err
			}
			table, err := change.ParseTableName(string(f[2]))
			open = append(open, sink.Debt{Topic: string(f[1]), Table: table, Key: string(f[3]), Version: change.Version(version)})
			return err
		})
	})
	return open, err
}
