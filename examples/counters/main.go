// Command counters keeps, for each user, how many orders there are and what they are worth: exactly once, whatever is killed.
//
// What it shows: results in a database of one's own, in one transaction with the progress; and that what is counted is kept for each
// order beside the sums, so that a row that comes again by a crawl, or a change whose predecessor the log has lost, counts right.
//
//	counters: {results: "app:…@tcp(db2:3306)/results"}
//	topics: ["shop.shop.orders"]
package main

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"

	_ "github.com/go-sql-driver/mysql"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/handler"
	"github.com/sluice-cdc/sluice/sink/run"
)

type page struct {
	Counters struct {
		Results string `yaml:"results"`
	} `yaml:"counters"`
}

var tables = []string{
	"CREATE TABLE IF NOT EXISTS counted (id BIGINT PRIMARY KEY, user_id BIGINT NOT NULL, cents BIGINT NOT NULL)",
	"CREATE TABLE IF NOT EXISTS per_user (user_id BIGINT PRIMARY KEY, orders BIGINT NOT NULL, cents BIGINT NOT NULL)",
}

func main() {
	run.Main("counters", func() *page { return &page{} }, func(_ context.Context, p *page, _ sink.Setup) (sink.Target, error) {
		db, err := sql.Open("mysql", p.Counters.Results)
		if err != nil {
			return nil, err
		}
		return handler.InTransaction(db, count, handler.TransactionOptions{Create: tables, Results: []string{"counted", "per_user"}, StateOnly: true}), nil
	})
}

type sums struct{ orders, cents int64 }

// count takes out what was counted of each order, puts in what it is now, and writes each user's sums once, in one order: so
// transactions of different partitions seldom meet in a deadlock.
func count(ctx context.Context, tx *sql.Tx, batch []*handler.Event) error {
	delta := make(map[int64]sums)
	for _, e := range batch {
		id := e.Key("id").String()
		var user, cents int64
		err := tx.QueryRowContext(ctx, "SELECT user_id, cents FROM counted WHERE id = ? FOR UPDATE", id).Scan(&user, &cents)
		if err == nil {
			delta[user] = sums{delta[user].orders - 1, delta[user].cents - cents}
			_, err = tx.ExecContext(ctx, "DELETE FROM counted WHERE id = ?", id)
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if e.Deleted() {
			continue
		}
		if user, err = e.New("user_id").Int(); err != nil {
			return e.Refuse(err)
		}
		if cents, err = e.New("cents").Int(); err != nil {
			return e.Refuse(err)
		}
		delta[user] = sums{delta[user].orders + 1, delta[user].cents + cents}
		if _, err := tx.ExecContext(ctx, "INSERT INTO counted VALUES (?, ?, ?)", id, user, cents); err != nil {
			return err
		}
	}
	for _, user := range slices.Sorted(maps.Keys(delta)) {
		d := delta[user]
		if _, err := tx.ExecContext(ctx, "INSERT INTO per_user VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE orders = orders + ?, cents = cents + ?", user, d.orders, d.cents, d.orders, d.cents); err != nil {
			return err
		}
	}
	return nil
}
