package rig

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
)

// ShopTables are the shop's tables, in the order in which they are shown.
var ShopTables = []string{"customers", "orders", "order_items", "products"}

// shopSchema has what is hard: composite and text keys, secondary UNIQUE keys that change hands, a shard key that is no part
// of the primary key, types that are easily bent.
var shopSchema = []string{
	`CREATE TABLE customers (
	  id BIGINT UNSIGNED NOT NULL PRIMARY KEY, email VARCHAR(80) NOT NULL, name VARCHAR(60) CHARACTER SET latin1, city VARCHAR(40),
	  credit DECIMAL(12,2) NOT NULL, vip BIT(1) NOT NULL, born DATE, created_at DATETIME(3) NOT NULL,
	  UNIQUE KEY email (email), KEY city (city))`,
	`CREATE TABLE orders (
	  id BIGINT NOT NULL PRIMARY KEY, user_id INT NOT NULL, code VARCHAR(24) NOT NULL, status ENUM('new','paid','sent','gone') NOT NULL,
	  total DECIMAL(12,2) NOT NULL, note TEXT, tags SET('gift','rush','fragile') NOT NULL, detail JSON, updated_at TIMESTAMP(6) NOT NULL,
	  UNIQUE KEY code (code), KEY user_id (user_id))`,
	`CREATE TABLE order_items (
	  order_id BIGINT NOT NULL, line_no SMALLINT UNSIGNED NOT NULL, sku VARCHAR(20) NOT NULL, qty INT NOT NULL, price DOUBLE NOT NULL,
	  PRIMARY KEY (order_id, line_no))`,
	`CREATE TABLE products (
	  sku VARCHAR(20) NOT NULL PRIMARY KEY, title VARCHAR(100) NOT NULL, shelf INT, weight FLOAT, image VARBINARY(64), stock INT NOT NULL,
	  UNIQUE KEY shelf (shelf))`,
}

// Shop says how large the shop is: rows in all tables together.
type Shop struct {
	Database string
	Rows     int
}

// parts returns the number of rows of each table.
func (s Shop) parts() (customers, orders, items, products int) {
	customers, orders, products = s.Rows*25/100, s.Rows*35/100, s.Rows*5/100
	return customers, orders, s.Rows - customers - orders - products, products
}

// Load makes the shop and fills it by statements of many rows each.
func (s Shop) Load(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+s.Database+" CHARACTER SET utf8mb4"); err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	deep := []string{"SET SESSION cte_max_recursion_depth = 100000000", "SET SESSION max_recursive_iterations = 100000000"} // MySQL's word, MariaDB's word
	for _, q := range append(append([]string{"USE " + s.Database, "SET time_zone = '+00:00'"}, deep...), shopSchema...) {
		if _, err := conn.ExecContext(ctx, q); err != nil && !slices.Contains(deep, q) {
			return fmt.Errorf("%.40s: %w", q, err)
		}
	}
	customers, orders, items, products := s.parts()
	for _, fill := range []struct {
		into, row string
		rows      int
	}{
		{"customers", "n, CONCAT('c', n, '@example.org'), CONCAT('Name ', n, ' caf\u00e9'), ELT(1 + n % 5, 'Seoul', 'Jeju', 'Busan', NULL, 'Daegu'), n % 1000 + 0.25, n % 2, DATE_ADD('1960-01-01', INTERVAL n % 15000 DAY), '2026-01-02 03:04:05.678'", customers},
		{"orders", fmt.Sprintf("n, 1 + n %% %d, CONCAT('code-', n), ELT(1 + n %% 4, 'new', 'paid', 'sent', 'gone'), n %% 5000 + 0.99, IF(n %% 3, CONCAT('note \u4f60\u597d ', n), NULL), n %% 8, JSON_OBJECT('n', n, 'half', n / 2e0, 'who', CONCAT('u', n %% 10)), '2026-02-03 04:05:06.789012'", max(customers, 1)), orders},
		{"order_items", fmt.Sprintf("1 + n DIV 3, n %% 3 + 1, CONCAT('sku-', n %% %d), n %% 9 + 1, n / 7", max(products, 1)), items},
		{"products", "CONCAT('sku-', n), CONCAT('Thing ', n), IF(n % 4, n, NULL), n / 3, UNHEX(LEFT(SHA2(n, 256), 32)), n % 100", products},
	} {
		if err := fillTable(ctx, conn, fill.into, fill.row, fill.rows); err != nil {
			return fmt.Errorf("fill %s: %w", fill.into, err)
		}
	}
	return nil
}

// fillStep is how many rows one statement makes.
const fillStep = 10000

func fillTable(ctx context.Context, conn *sql.Conn, into, row string, rows int) error {
	for from := 0; from < rows; from += fillStep {
		q := fmt.Sprintf("INSERT INTO %s SELECT %s FROM (WITH RECURSIVE seq(n) AS (SELECT %d UNION ALL SELECT n + 1 FROM seq WHERE n < %d) SELECT n FROM seq) AS s",
			into, row, from+1, min(from+fillStep, rows))
		if _, err := conn.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// Empty makes the shop's tables without rows: what a target looks like that was prepared by hand.
func (s Shop) Empty(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, q := range append([]string{"CREATE DATABASE " + s.Database + " CHARACTER SET utf8mb4", "USE " + s.Database}, shopSchema...) {
		if _, err := conn.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("%.40s: %w", q, err)
		}
	}
	return nil
}
