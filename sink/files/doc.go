// Package files is the target that keeps the whole history of changes as Parquet files, on a local disk or in storage that speaks S3.
//
// New starts nothing; Apply is called from many goroutines.
//
// # What lies there
//
//	table=shop.orders/day=2026-11-29/shop.shop.orders.<topic id>.4-3-<first>-<last>.parquet    changes: what readers read
//	_sluice/staged/<partition>/...                                                              changes that no visible file has yet
//	_sluice/progress/<partition>.json                                                           the state of a partition
//	_sluice/owner.json                                                                          whose all of it is: one group's
//	_copies/as_of=20261129T000000Z/table=shop.orders/...                                        states of tables as of a time: see Copy
//
// A record of a topic is a row, tombstones too: what happened and when (_op, _version, _commit_time, _gtid ...), the key (key_id), and the
// row after and before it (after_total, before_total). The day is that of the version, which is the commit's time in microseconds and
// never goes back in one partition, or hardly ever. A file is of one schema of its table.
//
// # Each offset in exactly one file
//
// The state of a partition is one small object that is only ever replaced by compare and swap (a lock on a local disk, If-Match in S3).
// Everything else follows it:
//
//   - Apply stages the batch, a file for each day and schema, and then swaps the state: next offset, T, and the list of what is staged.
//     That swap is the commit. It is refused where another owner has swapped since (the epoch is in the state); what was staged for
//     it is in no list then, nobody reads it, and the partition's next owner removes it.
//   - When enough is staged (size, time, the day's or the schema's end), the swap also says what is to become one visible file,
//     and of which offsets. Whoever owns the partition merges it, puts it under its name, and swaps once more. The name and the rows follow from
//     the state alone, so that one who comes late, or again after a crash, puts the same rows under the same name.
//   - The offsets of files follow each other without gaps: a file begins where the one before ended. Transaction markers and what
//     compaction of the log took away are counted in. What somebody goes back for (replay) is there already, and is left out.
//
// So readers that list *.parquet see every offset once, whatever crashed, until files are compacted.
//
// # Compaction
//
// Some time after a day is over its small files are merged into one. It is put under a name with the offsets of all of them, and
// these are removed an hour later (Config.KeepReplaced): there is no moment in which a row is in no file. In that hour it is in
// two, and the names say so: a file whose offsets lie within those of another file of its partition is left out. That is
// the one rule readers must follow; [current] is that rule.
//
// # What comes late
//
// A put that an owner began before it lost the partition may arrive after it. It puts the rows that the state asked for under the name
// that the state gave, so nothing changes; where that file was merged into another meanwhile, it lies within the other's offsets and is
// left out by the rule. It cannot be a file of other offsets: those are decided by the swap alone. A swap that comes late finds another
// tag. What is staged is removed by those alone who have swapped after it was made.
package files
