package sim

import "math/rand/v2"

// kind is what an act does.
type kind uint8

const (
	writeAct   kind = iota // the database commits a transaction
	silentAct              // a statement changes rows, and no row event says so
	showAct                // a commit becomes visible
	executeAct             // a GTID comes into gtid_executed
	startAct               // a source starts, beside another perhaps
	streamAct              // a source takes the next event
	crawlAct               // a crawl worker takes its next step
	sendAct                // a source sends records
	flushAct               // a source sends all, and the checkpoint
	endAct                 // a source ends its transaction
	killSourceAct
	againAct   // a person asks for another crawl
	cancelAct  // a person cancels one
	stopAct    // a row cannot be published: the table stops
	failAct    // the database fails over
	sinkAct    // a sink takes a partition's next step
	commitAct  // a sink commits a group's offset
	moveAct    // the group gives a partition to another member
	killAct    // a sink is killed
	replayAct  // a person has a partition read again
	compactAct // the broker compacts a partition
	kinds
)

// weights say how often each kind comes. Each history takes them times a number of its own (swarm testing): what is rare in
// most is common in some, and some do without.
var weights = [kinds]struct {
	often int
	rare  bool // a fault, which a history may do without or be full of
}{
	writeAct: {150, false}, showAct: {130, false}, executeAct: {130, false}, startAct: {100, false}, streamAct: {300, false},
	crawlAct: {200, false}, sendAct: {15, false}, flushAct: {80, false}, endAct: {100, false}, killSourceAct: {2, true},
	silentAct: {5, true}, againAct: {12, true}, cancelAct: {12, true}, stopAct: {1, true}, failAct: {1, true}, sinkAct: {40, true}, commitAct: {50, false}, moveAct: {10, true}, killAct: {2, true},
	replayAct: {1, true}, compactAct: {8, true},
}

// act is one step of a program. The numbers are read modulo whatever there is to choose from.
type act struct {
	kind       kind
	a, b, c, d uint8
}

// generate writes a program of so many acts.
func generate(r *rand.Rand, length int) []act {
	var own [kinds]int
	total := 0
	for k, w := range weights {
		own[k] = w.often * [...]int{1, 1, 2, 4}[r.IntN(4)]
		if w.rare {
			own[k] = w.often * [...]int{0, 1, 4, 16}[r.IntN(4)]
		}
		total += own[k]
	}
	program := make([]act, length)
	for i := range program {
		n := r.IntN(total)
		k := kind(0)
		for ; n >= own[k]; k++ {
			n -= own[k]
		}
		bits := r.Uint32()
		program[i] = act{k, uint8(bits), uint8(bits >> 8), uint8(bits >> 16), uint8(bits >> 24)}
	}
	return program
}
