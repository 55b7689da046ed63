-- The database under capture: an account with what a source needs and no more, and a small shop to play with.
CREATE USER 'cdc'@'%' IDENTIFIED BY 'cdc';
GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT, XA_RECOVER_ADMIN ON *.* TO 'cdc'@'%';

CREATE DATABASE shop;
CREATE USER 'app'@'%' IDENTIFIED BY 'app';
GRANT ALL ON shop.* TO 'app'@'%';
USE shop;

CREATE TABLE countries (
  code CHAR(2) NOT NULL PRIMARY KEY,
  name VARCHAR(60) NOT NULL);

CREATE TABLE customers (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  email VARCHAR(80) NOT NULL,
  country CHAR(2) NOT NULL,
  credit DECIMAL(12,2) NOT NULL DEFAULT 0,
  created_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  UNIQUE KEY email (email));

CREATE TABLE orders (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  customer_id BIGINT UNSIGNED NOT NULL,
  status ENUM('new','paid','sent') NOT NULL DEFAULT 'new',
  total DECIMAL(12,2) NOT NULL,
  detail JSON,
  KEY customer_id (customer_id));

INSERT INTO countries VALUES ('KR', 'Korea'), ('DE', 'Germany'), ('BR', 'Brazil');
INSERT INTO customers (email, country, credit) VALUES
  ('ann@example.org', 'KR', 10), ('bob@example.org', 'DE', 0.5), ('eve@example.org', 'BR', 99.99);
INSERT INTO orders (customer_id, status, total, detail) VALUES
  (1, 'new', 12.5, '{"gift": true}'), (2, 'paid', 7, NULL), (3, 'sent', 42.42, '[1, 2]');
