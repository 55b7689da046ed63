package mutants

// planted is one mutant and the test that must catch it. What it breaks is said at its constant in internal/mutant.
type planted struct {
	name    string // the tag is mutant_ and this
	folder  string // of the package with the test
	test    string // with a subtest, as go test prints it
	says    string // what the failing test must say: the rule that is broken, not any failure
	torture bool   // wrong rows are left where connections and processes die: a torture is expected to find it too
	cheap   bool   // planted by make test as well, so that what is here works
}

const hangs = "TestCrawlBesideACommitThatHangs/"

// list is in the order of internal/mutant.
var list = []planted{
	{name: "create_first", folder: "test/system", test: "TestSourceFailover", says: "versions do not grow"},

	{name: "no_fence", folder: "source/publish", test: "TestASecondSourceFencesTheFirst/idle", says: "the first source got <nil>", torture: true, cheap: true},
	{name: "fence_late", folder: "source/publish", test: "TestOpenFencesBeforeItReads", says: "the id is to be taken before the checkpoint is read"},
	{name: "checkpoint_apart", folder: "source/publish", test: "TestTheAnswerToACommitIsLost/the_answer,_once", says: "the checkpoint is at 0, want 1", torture: true},
	{name: "no_row_skip", folder: "test/system", test: "TestSourceFailover", says: `the topic has "cc", it should be "c"`, torture: true},
	{name: "skip_unchecked", folder: "test/system", test: "TestSourceFailoverToAnotherForm", says: "shop.ledger: the topic has"},
	{name: "no_subset", folder: "test/system", test: "TestSourceFailoverThatLost/whole_transactions", says: "it goes on at a server that lacks what was published", torture: true},

	{name: "txn_version", folder: "test/system", test: "TestSourceFailover", says: "versions do not grow", torture: true},
	{name: "far_clock", folder: "source", test: "TestAClockFarAheadIsNotBelieved", says: "a year ahead, the transaction's: the version after 5 is"},
	{name: "sink_clock", folder: "sink/run", test: "TestAppliesAndGoesOn", says: "has version", torture: true},

	{name: "no_wait", folder: "source/crawl", test: "TestWaitsForVisibility", says: "chunks were published while the commit hangs", torture: true},
	{name: "open_not_delivered", folder: "test/system", test: hangs + "it_is_delivered_in_part_when_the_crawl_begins", says: "differences: the topic has"},
	{name: "mark_first", folder: "source/crawl", test: "TestTheMarkLiesBehindTheRows", says: "and may be published from"},
	{name: "no_touch", folder: "test/system", test: hangs + "it_comes_while_the_window_of_a_chunk_is_open", says: "differences: the topic has", torture: true},
	{name: "no_strike", folder: "source/merge", test: "TestStories/one_chunk.txt", says: "publish b: 1 3 (1 struck)", torture: true, cheap: true},
	{name: "xa_at_prepare", folder: "source/binlog", test: "TestOpenXA/9.7", says: "open: []"},

	{name: "replace", folder: "sink/mysql", test: "TestSuite/an_older_row_comes_late_to_a_taken_unique_value", says: "row [2 a 2 2] is there 0 times", torture: true},
	{name: "guard_without_key", folder: "sink/mysql", test: "TestHolderWithAutoIncrementKeyIsNotRenamed", says: "debts [], <nil>; want one of id=1"},
	{name: "delete_unversioned", folder: "sink/mysql", test: "TestSuite/stale_versions_do_nothing", says: "row [1 a 1 1] is there 0 times"},

	{name: "offsets_first", folder: "sink/run", test: "TestOffsetsStayBehindWhatIsApplied", says: "and what lies before it is not applied", torture: true},
	{name: "progress_uncompared", folder: "sink/mysql", test: "TestLateOwnerChangesNothing", says: "the old owner got <nil>", torture: true},
	{name: "progress_apart", folder: "sink/mysql", test: "TestABatchThatIsCutOffInOneShard", says: "the shard never gets the batch that was cut off in it", torture: true},
	{name: "highest_shard", folder: "sink/mysql", test: "TestABatchThatIsCutOffInOneShard", says: "the shard never gets the batch that was cut off in it", torture: true},
	{name: "read_uncommitted", folder: "sink/run", test: "TestAppliesAndGoesOn", says: "the target shows what the source has"},
	{name: "bare_tombstone", folder: "sink/hbase", test: "TestDeletesSurviveMajorCompaction", says: "of the deleted row"},

	{name: "trust_before", folder: "sink/run", test: "TestDoubtedEvents", says: "its before image is trusted: true, want false", torture: true},
	{name: "move_at_once", folder: "sink/mysql", test: "TestAMoveWritesFirst", says: "before its new shard has the row"},
}
