package rig

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Writer changes the shop from many connections at once: INSERT, INSERT IGNORE, INSERT ... ON DUPLICATE KEY UPDATE, REPLACE,
// UPDATE and DELETE, of one and of many rows, in transactions that commit and that roll back; UNIQUE values change hands, keys
// change, and rows change the column by which they are sharded.
type Writer struct {
	DB          *sql.DB
	Shop        Shop
	Connections int
	PerSecond   int    // changes, over all connections; 0: as many as go
	Seed        uint64 // the same seed gives each connection the same wishes; what comes of them depends on the others

	changes atomic.Int64
	failed  atomic.Int64
}

// Changes returns how many rows were changed and committed.
func (w *Writer) Changes() int64 { return w.changes.Load() }

// Run writes until ctx ends. Conflicts with other connections (duplicate key, deadlock, lock wait) belong to the play; any
// other error ends it.
func (w *Writer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i := range w.Connections {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := w.connection(ctx, rand.New(rand.NewPCG(w.Seed, uint64(i)))); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		}()
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (w *Writer) connection(ctx context.Context, r *rand.Rand) error {
	began, mine := time.Now(), int64(0)
	for ctx.Err() == nil {
		n, err := w.transaction(ctx, r)
		switch {
		case conflict(err):
			w.failed.Add(1)
		case lost(err): // the server was killed or restarted: that belongs to the play too
			time.Sleep(200 * time.Millisecond)
			began, mine = time.Now(), 0
			continue
		case err != nil:
			return err
		}
		w.changes.Add(n)
		mine += n + 1
		if w.PerSecond > 0 {
			due := began.Add(time.Duration(mine) * time.Second * time.Duration(w.Connections) / time.Duration(w.PerSecond))
			select {
			case <-time.After(time.Until(due)):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// conflict reports errors that come of several connections wanting the same rows.
func conflict(err error) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && (e.Number == 1062 || e.Number == 1213 || e.Number == 1205)
}

func lost(err error) bool {
	var e *mysql.MySQLError
	return err != nil && !errors.As(err, &e)
}

// transaction runs one to three wishes; one of twenty transactions is rolled back. A statement that fails takes its whole
// transaction with it.
func (w *Writer) transaction(ctx context.Context, r *rand.Rand) (int64, error) {
	tx, err := w.DB.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	var n int64
	for range 1 + r.IntN(3) {
		for _, q := range w.wish(r) {
			result, err := tx.ExecContext(ctx, q)
			if err != nil {
				return 0, fmt.Errorf("%.60s: %w", q, err)
			}
			rows, err := result.RowsAffected()
			if err != nil {
				return 0, err
			}
			n += rows
		}
	}
	if r.IntN(20) == 0 {
		return 0, tx.Rollback()
	}
	return n, tx.Commit()
}

// wish returns the statements of one wish.
func (w *Writer) wish(r *rand.Rand) []string {
	customers, orders, items, products := w.Shop.parts()
	db := w.Shop.Database
	id := func(n int) int { return 1 + r.IntN(n+n/8+1) } // some beyond what is there
	one := func(format string, args ...any) []string { return []string{fmt.Sprintf(format, args...)} }
	o, c := id(orders), id(customers)
	switch r.IntN(16) {
	case 0:
		return one("INSERT IGNORE INTO %s.orders VALUES (%d, %d, 'code-%d', 'new', %d.5, NULL, 'gift', '[1, 2.5, \"x\"]', NOW(6))", db, o, c, o, r.IntN(1000))
	case 1:
		return one("INSERT INTO %s.orders VALUES (%d, %d, 'code-%d', 'paid', 7, 'odku', '', NULL, NOW(6)) ON DUPLICATE KEY UPDATE total = total + 1, user_id = VALUES(user_id)", db, o, c, o)
	case 2:
		return one("REPLACE INTO %s.orders VALUES (%d, %d, 'code-%d', 'sent', 9.75, 'replaced', 'rush', '{\"k\": null}', NOW(6))", db, o, c, id(orders))
	case 3:
		return one("INSERT INTO %s.order_items VALUES (%d, %d, 'sku-1', 1, 0.1), (%d, %d, 'sku-2', 2, 1e-7) ON DUPLICATE KEY UPDATE qty = qty + 1", db, id(items/3), 1+r.IntN(5), id(items/3), 6+r.IntN(3))
	case 4:
		return one("DELETE FROM %s.order_items WHERE order_id = %d", db, id(items/3))
	case 5:
		return one("DELETE FROM %s.orders WHERE id = %d", db, o)
	case 6:
		return one("UPDATE %s.orders SET status = 'paid', total = total + 1 WHERE id BETWEEN %d AND %d", db, o, o+5)
	case 7: // the shard key changes
		return one("UPDATE %s.orders SET user_id = %d WHERE id = %d", db, c, o)
	case 8: // the key changes
		return one("UPDATE %s.order_items SET line_no = line_no + 10 WHERE order_id = %d AND line_no < 10 ORDER BY line_no DESC", db, id(items/3))
	case 9: // a UNIQUE value changes hands
		p := id(orders)
		return []string{
			fmt.Sprintf("UPDATE %s.orders SET code = CONCAT('swap-', id) WHERE id = %d", db, o),
			fmt.Sprintf("UPDATE %s.orders SET code = 'code-%d' WHERE id = %d", db, o, p),
			fmt.Sprintf("UPDATE %s.orders SET code = 'code-%d' WHERE id = %d", db, p, o),
		}
	case 10:
		return one("UPDATE %s.customers SET credit = credit - 1.5, city = NULL WHERE id = %d", db, c)
	case 11:
		d := id(customers)
		return []string{
			fmt.Sprintf("UPDATE %s.customers SET email = CONCAT('swap-', id) WHERE id = %d", db, c),
			fmt.Sprintf("UPDATE %s.customers SET email = 'c%d@example.org' WHERE id = %d", db, c, d),
			fmt.Sprintf("UPDATE %s.customers SET email = 'c%d@example.org' WHERE id = %d", db, d, c),
		}
	case 12:
		return one("REPLACE INTO %s.customers VALUES (%d, 'c%d@example.org', 'R\u00e9', 'Ulsan', %d, b'1', '1999-12-31', NOW(3))", db, c, id(customers), r.IntN(100))
	case 13: // a key that changes its spelling only
		return one("UPDATE %s.products SET sku = IF(sku = BINARY LOWER(sku), UPPER(sku), LOWER(sku)) WHERE sku = 'sku-%d'", db, id(products))
	case 14:
		return one("UPDATE %s.products SET shelf = IF(shelf IS NULL, %d, NULL), stock = stock + 1, weight = weight * 1.1 WHERE sku = 'sku-%d'", db, id(products), id(products))
	}
	return one("INSERT INTO %s.products VALUES ('sku-%d', 'New', NULL, 1.5, x'00ff', 1) ON DUPLICATE KEY UPDATE stock = stock - 1", db, id(products))
}
