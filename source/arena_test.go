package source

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// What was kept stays as it is until the transaction ends, whatever is appended after it, and the next transaction of that size allocates
// nothing.
func TestArena(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var a arena
	transaction := func(check bool) {
		r := rand.New(rand.NewPCG(seed, 1))
		var kept [][]byte
		for i := range 3000 {
			b := a.room()
			for range r.IntN(400) {
				b = append(b, byte(i))
			}
			if b = a.keep(b); check {
				kept = append(kept, b)
			}
		}
		for i, b := range kept {
			if !bytes.Equal(b, bytes.Repeat([]byte{byte(i)}, len(b))) {
				t.Fatalf("record %d was written over", i)
			}
		}
		a.reuse()
	}
	for range 3 {
		transaction(true)
	}
	if n := testing.AllocsPerRun(5, func() { transaction(false) }); n > 1 { // the random numbers' own
		t.Errorf("%v allocations for a transaction of the usual size", n)
	}
	if len(a.free) == 0 {
		t.Error("nothing is kept for the next transaction")
	}
	a.reuse()
	if a.reuse(); len(a.free) != 0 {
		t.Errorf("an idle arena holds %d blocks beside the one at hand", len(a.free))
	}
}
