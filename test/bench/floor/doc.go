// Package floor is what the machine and the servers allow: programs that do nothing but the one thing that none can do without. The command
// test/bench/cmd/floor runs one of them, as a process of its own whose processor time can be read, and prints one line, a [Result].
//
//	produce   records to a topic (franz-go), without a transaction: nothing is read, decoded or encoded
//	load      rows to a table by INSERT ... ON DUPLICATE KEY UPDATE of many rows: no versions, no progress, no order
//	bulk      documents to an index by _bulk: no versions
//	dump      mysqldump --single-transaction, its output thrown away
//	binlog    mysqlbinlog --raw from the server, into a folder
//
// What has to be in memory, rows and records, is read before the clock starts: it measures the writing alone. Time and processor time are
// those from the first write to the last answer.
//
// [Start] is for whoever runs the command from Go. The package's goroutines end with the function that started them, but for [Process],
// whose one ends with the process.
package floor
