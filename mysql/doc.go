// Package mysql is what both ends know of MySQL and MariaDB servers: how to connect, how to quote, what a
// server is and can (Facts), what must be set on it (Preflight, CheckGrants), and what shape its tables have.
//
// A table read from INFORMATION_SCHEMA (LoadTable) equals the one that rowimage makes of the binlog's
// TABLE_MAP, field by field, so that a crawled row and a streamed row give the same bytes (R10).
//
// Functions here ask the server in the caller's goroutine and keep no state; the pool that Open returns is
// the caller's to close.
package mysql
