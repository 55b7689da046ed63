// Package parity reads our topics with software that is not ours: what a stock consumer in another language decodes must be what
// was written, and a table that Debezium's JDBC sink fills must be the source's.
package parity
