// Package fault marks the places in the code at which tests kill, stop or end the process.
//
// A binary built without the tag `faultpoints` has nothing of it: Point is an empty function that the compiler
// inlines away. Built with the tag, the environment variable SLUICE_FAULT says where and how:
//
//	SLUICE_FAULT="publish/after-endtxn:3:kill"
//
// is SIGKILL to the process itself when it comes to that point for the third time. The other actions are stop
// (SIGSTOP: the process hangs as one that has lost its CPU, until SIGCONT) and exit (os.Exit(3), without any
// deferred function). Several faults are separated by commas. The number may be left out, it is 1 then; so may the
// action, it is kill.
package fault

// Names are all points in the code, and no others: a test of the whole system walks through them. A point that is not
// listed panics in a build with the tag, and so does a SLUICE_FAULT that names none.
var Names = []string{
	"publish/after-fence",    // a transactional id is ours, the next is not or the checkpoint is not read yet
	"publish/before-begin",   // before the first record of a transaction
	"publish/after-add",      // a record is in its batch
	"publish/before-flush",   // rows are added, the checkpoint's records are not
	"publish/before-produce", // batches are closed and packed, and leave next
	"publish/after-produce",  // a broker has acknowledged them, nobody knows it yet
	"publish/after-flush",    // all records are acknowledged, the transaction is open
	"publish/before-endtxn",  // as late as can be before the commit is asked for
	"publish/after-endtxn",   // the commit is acknowledged, the loop does not know it yet
	"source/after-open",      // the checkpoint is read, the server not asked yet
	"source/before-publish",  // an event is taken in, nothing of it is in Kafka
	"source/after-commit",    // the loop knows that the commit holds
	"crawl/after-open",       // a chunk's window is open, its rows are not read
	"crawl/after-read",       // a chunk's rows are read, the stream does not have them
	"crawl/before-finish",    // all of a crawl is published, its end is not
}
