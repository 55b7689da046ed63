------------------------------- MODULE Sluice -------------------------------
(***************************************************************************)
(* A row's way from the server to a target, small enough to look at every  *)
(* state of it: commits that the binlog shows before a SELECT does, the    *)
(* stream, a crawl by rule R4, restarts, a log with one version an event   *)
(* (R3), partitions that are applied each at its own pace, batches and     *)
(* compaction that skip superseded records, late single writes of an old   *)
(* owner, and newest wins with one UNIQUE column (R5).                     *)
(*                                                                         *)
(* The claim is Right: when everything has come to rest, the target holds  *)
(* what the server's table holds, and no debt is open.                     *)
(*                                                                         *)
(* Bounds: the constants below. Keys, transactions, chunks, restarts and   *)
(* late writes are counted; every order of them within these counts is     *)
(* looked at. A row is its key and its UNIQUE value.                       *)
(*                                                                         *)
(* One reduction: the target begins when the log is complete. It has no    *)
(* influence on what comes before, and a target that reads along is one    *)
(* whose other partitions are slow, so no outcome is lost by it.           *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS
    KeyCount,       \* keys are 1..KeyCount, each one a partition of its own
    Vals,           \* the UNIQUE column's values, besides NULL
    MaxTx,          \* transactions
    MaxChunks,      \* chunks that are published; each reads all keys by name
    MaxRestarts,    \* of the source, which forgets its window and its chunk
    MaxLate,        \* single writes that come again, after anything
    Tombstones,     \* the target remembers the version of a real delete
    FirstCrawl,     \* rows may be there before the stream begins
    Prompt,         \* a commit is shown, executed and published in one step: for runs that are about the target
    Sink,           \* whether there is a target: runs that are about the crawl look at the log alone

    (* What the errors planted by the test switch off.                      *)
    Wait,           \* step 2: wait until D is executed
    InProgress,     \* D has the transaction in progress
    ResumeSet,      \* after a restart D has the whole resume set
    HighFromEnd,    \* step 4: the high mark is the log's end, not gtid_executed
    Remember,       \* the window remembers keys until the rows are here
    Strike,         \* from then on each event strikes
    Compare,        \* the target compares versions
    Holders         \* "older": only older holders give way; "all": REPLACE; "none": the writer gives way

VARIABLES
    phase,      \* "source" until the log is complete, then "target"
    tip,        \* the server's table after all of the binlog
    now,        \* the table after what the stream has delivered of it
    shown,      \* the table as a SELECT sees it
    bin,        \* the binlog: a sequence of transactions, each a sequence of [k, r]
    hidden,     \* transactions that a SELECT does not show yet
    waiting,    \* transactions whose GTID is not in gtid_executed yet; hidden ones are among them
    done,       \* transactions delivered whole, since ever
    inTx,       \* events delivered of the one after them
    since,      \* transactions delivered before the last restart
    log,        \* what is in Kafka, in order: [k, r]; the version of a record is its place
    step,       \* of the crawl
    D,          \* the transactions that a window must wait for lie in since+1..D or 1..D
    window, chunk, high,
    chunks, restarts,
    target,     \* key -> [r, v]
    tomb,       \* key -> version of the real delete
    debt,       \* key -> the version above which its next event must still come, -1: none
    at,         \* key -> place of the last record applied of it
    lates

source == <<phase, tip, now, shown, bin, hidden, waiting, done, inTx, since, log, step, D, window, chunk, high, chunks, restarts>>
sink == <<target, tomb, debt, at, lates>>
vars == <<source, sink>>

Keys == 1..KeyCount
None == "null"      \* a row whose UNIQUE column is NULL
Absent == "absent"  \* no row
Struck == "struck"  \* no longer in the chunk
Rows == Vals \union {None, Absent}
Symmetry == Permutations(Vals)
Unique(table) == \A j, k \in Keys : j # k /\ table[j] = table[k] => table[j] \notin Vals
Max(S) == CHOOSE m \in S : \A s \in S : s <= m

Init ==
    /\ phase = "source"
    /\ tip \in IF FirstCrawl THEN {t \in [Keys -> Rows] : Unique(t)} ELSE {[k \in Keys |-> Absent]}
    /\ shown = tip /\ now = tip
    /\ bin = <<>> /\ hidden = {} /\ waiting = {}
    /\ done = 0 /\ inTx = 0 /\ since = 0 /\ log = <<>>
    /\ step = "idle" /\ D = 0 /\ window = {} /\ chunk = [k \in Keys |-> Struck] /\ high = 0
    /\ chunks = 0 /\ restarts = 0
    /\ target = [k \in Keys |-> [r |-> Absent, v |-> 0]]
    /\ tomb = [k \in Keys |-> 0] /\ debt = [k \in Keys |-> -1] /\ at = [k \in Keys |-> 0] /\ lates = 0

-----------------------------------------------------------------------------
(* The server.                                                             *)

\* Rows, and UNIQUE values, of a transaction that is not in the engine yet are locked.
Locked(k) == \E i \in hidden : \E c \in 1..Len(bin[i]) : bin[i][c].k = k
Free(k) == ~Locked(k)
FreeValue(r) == r \notin Vals \/ \A k \in Keys : Locked(k) => tip[k] # r /\ shown[k] # r

Commit(tx, after) ==
    /\ phase = "source"
    /\ Len(bin) < MaxTx
    /\ Unique(after) /\ after # tip
    /\ \A c \in 1..Len(tx) : Free(tx[c].k) /\ FreeValue(tx[c].r) /\ FreeValue(tip[tx[c].k])
    /\ tip' = after
    /\ bin' = Append(bin, tx)
    /\ IF Prompt
       THEN /\ shown' = after /\ now' = after /\ done' = done + 1 /\ log' = log \o tx
            /\ UNCHANGED <<hidden, waiting>>
       ELSE /\ hidden' = hidden \union {Len(bin) + 1}
            /\ waiting' = waiting \union {Len(bin) + 1}
            /\ UNCHANGED <<shown, now, done, log>>
    /\ UNCHANGED <<phase, inTx, since, step, D, window, chunk, high, chunks, restarts, sink>>

\* One row is made, changed or deleted.
WriteOne == \E k \in Keys, r \in Rows : Commit(<<[k |-> k, r |-> r]>>, [tip EXCEPT ![k] = r])

\* One row gives its UNIQUE value to another; where it goes away and the other is new, the row's key has changed.
WritePass == \E j, k \in Keys, r \in {None, Absent} :
    /\ j # k /\ tip[j] \in Vals
    /\ Commit(<<[k |-> j, r |-> r], [k |-> k, r |-> tip[j]]>>, [tip EXCEPT ![j] = r, ![k] = tip[j]])

\* The engine's commit, in any order.
Show == \E i \in hidden :
    /\ phase = "source"
    /\ hidden' = hidden \ {i}
    /\ shown' = [k \in Keys |-> IF \E c \in 1..Len(bin[i]) : bin[i][c].k = k
                                THEN LET c == CHOOSE c \in 1..Len(bin[i]) : bin[i][c].k = k IN bin[i][c].r
                                ELSE shown[k]]
    /\ UNCHANGED <<phase, tip, now, bin, waiting, done, inTx, since, log, step, D, window, chunk, high, chunks, restarts, sink>>

\* The GTID comes into gtid_executed, later still.
Execute == \E i \in waiting \ hidden :
    /\ phase = "source"
    /\ waiting' = waiting \ {i}
    /\ UNCHANGED <<phase, tip, now, shown, bin, hidden, done, inTx, since, log, step, D, window, chunk, high, chunks, restarts, sink>>

-----------------------------------------------------------------------------
(* The source.                                                             *)

\* One event, published at once: that a crash loses no part of it is R2's and not looked at here.
Deliver ==
    /\ phase = "source"
    /\ done < Len(bin)
    /\ LET e == bin[done + 1][inTx + 1]
           last == inTx + 1 = Len(bin[done + 1])
       IN /\ log' = Append(log, e)
          /\ now' = [now EXCEPT ![e.k] = e.r]
          /\ done' = IF last THEN done + 1 ELSE done
          /\ inTx' = IF last THEN 0 ELSE inTx + 1
          /\ window' = IF Remember /\ step \in {"open", "read"} THEN window \union {e.k} ELSE window
          /\ chunk' = IF Strike /\ step = "due" THEN [chunk EXCEPT ![e.k] = Struck] ELSE chunk
    /\ UNCHANGED <<phase, tip, shown, bin, hidden, waiting, since, step, D, high, chunks, restarts, sink>>

\* Step 1 without its own wait, which only makes the window short.
Open ==
    /\ phase = "source"
    /\ step = "idle" /\ chunks < MaxChunks
    /\ step' = "open" /\ window' = {}
    /\ D' = IF InProgress /\ inTx > 0 THEN done + 1 ELSE done
    /\ UNCHANGED <<phase, tip, now, shown, bin, hidden, waiting, done, inTx, since, log, chunk, high, chunks, restarts, sink>>

\* Steps 2 and 3.
Select ==
    /\ phase = "source"
    /\ step = "open"
    /\ Wait => \A i \in waiting : i > D \/ (~ResumeSet /\ i <= since)
    /\ step' = "read" /\ chunk' = shown
    /\ UNCHANGED <<phase, tip, now, shown, bin, hidden, waiting, done, inTx, since, log, D, window, high, chunks, restarts, sink>>

\* Step 4.
Mark ==
    /\ phase = "source"
    /\ step = "read"
    /\ high' = IF HighFromEnd THEN Len(bin) ELSE Max({0} \union ((1..Len(bin)) \ waiting))
    /\ step' = "due" /\ window' = {}
    /\ chunk' = [k \in Keys |-> IF k \in window THEN Struck ELSE chunk[k]]
    /\ UNCHANGED <<phase, tip, now, shown, bin, hidden, waiting, done, inTx, since, log, D, chunks, restarts, sink>>

\* Step 5: rows, and a delete of each key that was named and is not there.
Publish ==
    /\ phase = "source"
    /\ step = "due" /\ done >= high
    /\ LET left == SelectSeq([k \in Keys |-> [k |-> k, r |-> chunk[k]]], LAMBDA c : c.r # Struck)
       IN log' = log \o left
    /\ step' = "idle" /\ chunks' = chunks + 1 /\ D' = 0 /\ high' = 0 /\ chunk' = [k \in Keys |-> Struck]
    /\ UNCHANGED <<phase, tip, now, shown, bin, hidden, waiting, done, inTx, since, window, restarts, sink>>

\* The source is killed, or its connection breaks. It goes on after the last event published.
Restart ==
    /\ phase = "source"
    /\ restarts < MaxRestarts
    /\ restarts' = restarts + 1 /\ since' = done
    /\ step' = "idle" /\ D' = 0 /\ window' = {} /\ chunk' = [k \in Keys |-> Struck] /\ high' = 0
    /\ UNCHANGED <<phase, tip, now, shown, bin, hidden, waiting, done, inTx, log, chunks, sink>>

-----------------------------------------------------------------------------
(* The target: sink/memory's rules, one record a step.                     *)

Complete == phase = "source" /\ step = "idle" /\ done = Len(bin) /\ waiting = {} /\ (FirstCrawl => chunks > 0)

\* What the target does not need is set to one value, so that states that differ by it alone become one.
Begin ==
    /\ Sink /\ Complete
    /\ phase' = "target" /\ shown' = tip
    /\ bin' = <<>> /\ done' = 0 /\ since' = 0 /\ chunks' = 0 /\ restarts' = 0
    /\ UNCHANGED <<tip, now, hidden, waiting, inTx, log, step, D, window, chunk, high, sink>>

Settled(k, v) == Compare /\ (target[k].v >= v \/ tomb[k] >= v)

Holding(k, r) == {h \in Keys \ {k} : r \in Vals /\ target[h].r = r}

Gone == [r |-> Absent, v |-> 0]

Paid(k, v) == IF debt[k] # -1 /\ v > debt[k] THEN [debt EXCEPT ![k] = -1] ELSE debt

Upsert(k, r, v) ==
    LET held == Holding(k, r)
        blocked == \/ Holders = "none" /\ held # {}
                   \/ Holders = "older" /\ \E h \in held : target[h].v > v
    IN /\ tomb' = IF blocked THEN tomb ELSE [tomb EXCEPT ![k] = 0]
       /\ target' = IF blocked THEN target
                    ELSE [j \in Keys |-> IF j = k THEN [r |-> r, v |-> v] ELSE IF j \in held THEN Gone ELSE target[j]]
       /\ debt' = IF blocked THEN [Paid(k, v) EXCEPT ![k] = v]
                  ELSE [j \in Keys |-> IF j \in held THEN target[j].v ELSE Paid(k, v)[j]]

Delete(k, v) ==
    /\ target' = [target EXCEPT ![k] = Gone]
    /\ tomb' = IF Tombstones THEN [tomb EXCEPT ![k] = v] ELSE tomb
    /\ debt' = Paid(k, v)

Do(i) ==
    LET k == log[i].k IN
    IF Settled(k, i) THEN UNCHANGED <<target, tomb, debt>>
    ELSE IF log[i].r = Absent THEN Delete(k, i) ELSE Upsert(k, log[i].r, i)

\* The next record of a key, or a later one: what lies between was superseded in the batch or compacted away.
Apply == \E i \in 1..Len(log) :
    /\ phase = "target"
    /\ i > at[log[i].k]
    /\ Do(i)
    /\ at' = [at EXCEPT ![log[i].k] = i]
    /\ UNCHANGED <<source, lates>>

\* An old owner's write arrives when its successor is further; or a batch comes again.
Late == \E i \in 1..Len(log) :
    /\ phase = "target"
    /\ lates < MaxLate
    /\ i <= at[log[i].k]
    /\ Do(i)
    /\ lates' = lates + 1
    /\ UNCHANGED <<source, at>>

Next ==
    \/ WriteOne \/ WritePass \/ Show \/ Execute
    \/ Deliver \/ Open \/ Select \/ Mark \/ Publish \/ Restart
    \/ Begin \/ Apply \/ Late

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
Applied == phase = "target" /\ \A i \in 1..Len(log) : i <= at[log[i].k]

\* The newest record of each key is the row, as soon as the crawl is over and all is delivered.
LogRight == Complete => \A k \in Keys :
    LET own == {i \in 1..Len(log) : log[i].k = k}
    IN tip[k] = IF own = {} THEN Absent ELSE log[Max(own)].r

\* What is left of a chunk when it is due is what the stream's place in history says of these rows.
ChunkTrue == step = "due" /\ done >= high => \A k \in Keys : chunk[k] \in {Struck, now[k]}

Right == Applied => \A k \in Keys : target[k].r = tip[k] /\ debt[k] = -1

UniqueAtTarget == Unique([k \in Keys |-> target[k].r])

Typed ==
    /\ hidden \subseteq waiting /\ waiting \subseteq 1..Len(bin)
    /\ Unique(tip) /\ done + (IF inTx > 0 THEN 1 ELSE 0) <= Len(bin)
=============================================================================
