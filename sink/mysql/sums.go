package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/sink"
)

// Sums has the servers sum up a key range, where every shard that has rows of the table should have all of them.
func (t *Target) Sums(ctx context.Context, r sink.Scan) ([]sink.RowSum, error) {
	tab, err := t.table(ctx, t.setup.Group, r.Source, r.Table)
	if err != nil {
		return nil, err
	}
	whole := -1 // the shard that should have all rows
	if len(tab.shards) > 1 {
		if tab.placement.spread() {
			return nil, fmt.Errorf("rows of %s are spread over shards: %w", r.Table, errors.ErrUnsupported)
		}
		if whole, err = tab.placement.shard(nil); err != nil {
			return nil, err
		}
	}
	var sums []sink.RowSum
	for i, st := range tab.shards {
		_, facts, err := st.shard.pool(ctx)
		if err != nil {
			return nil, err
		}
		if !facts.IsMySQL(8, 0, 1) {
			return nil, fmt.Errorf("%s is no MySQL 8: %w", st.shard.where(), errors.ErrUnsupported)
		}
		hash, ok := server.RowsHash(r.Table, st.all, r.Charsets)
		if !ok {
			return nil, fmt.Errorf("the text of a column of %s is not exact, or in another character set: %w", r.Table, errors.ErrUnsupported)
		}
		s := &scanner{shardTable: st, table: tab}
		if err := s.only(ctx, r.Source); err != nil {
			return nil, err
		}
		sum, err := s.sum(ctx, r, hash)
		if err != nil {
			return nil, err
		}
		if whole != route.All && len(tab.shards) > 1 && i != whole {
			if sum.Rows > 0 { // left-overs, which only a comparison of rows can name
				return nil, fmt.Errorf("rows of %s stand where they do not belong: %w", r.Table, errors.ErrUnsupported)
			}
			continue
		}
		sums = append(sums, sum)
	}
	return sums, nil
}

// sum runs the query in one shard.
func (s *scanner) sum(ctx context.Context, r sink.Scan, hash string) (sink.RowSum, error) {
	condition := "TRUE"
	if r.After != nil {
		condition = s.above(r.After)
	}
	if r.Through != nil {
		condition += " AND NOT " + s.above(r.Through)
	}
	out := sink.RowSum{Shard: s.shard.config.Name}
	db, _, err := s.shard.pool(ctx)
	if err != nil {
		return out, err
	}
	query := "SELECT " + hash + " FROM " + s.quoted + " WHERE (" + condition + ")" + s.mine
	err = queryRows(ctx, db, query, func(fields []sql.RawBytes) (err error) {
		out.Sum = string(fields[1])
		out.Rows, err = strconv.ParseInt(string(fields[0]), 10, 64)
		return err
	})
	return out, s.shard.problem(err)
}
