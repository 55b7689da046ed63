package route

import (
	"fmt"
	"strconv"

	"github.com/sluice-cdc/sluice/change"
)

// All is the shard number that stands for every shard: the row is kept in each of them.
const All = -1

// Rule places a shard key's value. It is pure and safe for use by many goroutines.
type Rule interface {
	// Shard returns the index of the shard, or All, or an error where the rule has no place for the value.
	Shard(v change.Value) (int, error)
	// String is the rule in one line, with all that decides: two rules that print the same place alike.
	String() string
}

// Modulus spreads integers over shards by value mod Shards, and anything else as Hash does.
//
// The remainder is the mathematical one, never negative: -1 mod 4 is 3. (MySQL's MOD(-1, 4), Go's and
// Java's -1 % 4 are -1.) An unsigned value is taken as it is: the largest BIGINT UNSIGNED is not -1.
type Modulus struct{ Shards int }

// Shard returns value mod Shards.
func (m Modulus) Shard(v change.Value) (int, error) {
	switch v.Kind {
	case change.Int64:
		n := int64(m.Shards)
		return int(((v.Int() % n) + n) % n), nil
	case change.Uint64:
		return int(v.Uint() % uint64(m.Shards)), nil
	}
	return Hash(m).Shard(v)
}

// String returns "modulus 4".
func (m Modulus) String() string { return "modulus " + strconv.Itoa(m.Shards) }

// Hash spreads values over shards by a hash of their text as change.Value.Append gives it: FNV-1a, 64 bits
// (offset basis 14695981039346656037, prime 1099511628211), its bits mixed by MurmurHash3's finalizer because
// FNV's low bits alone are poor, mod Shards. So 42, 42 unsigned and the text "42" go to one shard.
//
// Text is hashed byte by byte: 'a' and 'A' may go to different shards though a collation calls them equal.
type Hash struct{ Shards int }

// Shard returns the hash mod Shards.
func (h Hash) Shard(v change.Value) (int, error) {
	if v.IsNull() {
		return 0, errNull
	}
	if v.Kind == change.Str || v.Kind == change.Raw {
		return int(Sum64(v.Bytes) % uint64(h.Shards)), nil
	}
	var scratch [32]byte
	return int(Sum64(appendText(scratch[:0], v)) % uint64(h.Shards)), nil
}

// appendText appends a value's text, by which rules compare: what is equal has one text.
func appendText(dst []byte, v change.Value) []byte {
	if v.Kind == change.Str || v.Kind == change.Raw {
		return append(dst, v.Bytes...)
	}
	if (v.Kind == change.Float32 || v.Kind == change.Float64) && v.Float() == 0 {
		v.Num = 0 // -0 equals 0
	}
	return v.Append(dst)
}

// String returns "hash 4".
func (h Hash) String() string { return "hash " + strconv.Itoa(h.Shards) }

var errNull = fmt.Errorf("the shard key is NULL")

// Sum64 is the hash that Hash documents.
func Sum64(text []byte) uint64 {
	sum := uint64(14695981039346656037)
	for _, c := range text {
		sum = (sum ^ uint64(c)) * 1099511628211
	}
	sum = (sum ^ sum>>33) * 0xff51afd7ed558ccd
	sum = (sum ^ sum>>33) * 0xc4ceb9fe1a85ec53
	return sum ^ sum>>33
}

// One puts every row into the one shard of that index.
type One struct{ Index int }

// Shard returns Index.
func (o One) Shard(change.Value) (int, error) { return o.Index, nil }

// String returns "one 0".
func (o One) String() string { return "one " + strconv.Itoa(o.Index) }

// Everywhere keeps every row in every shard: small tables that are joined with.
type Everywhere struct{}

// Shard returns All.
func (Everywhere) Shard(change.Value) (int, error) { return All, nil }

// String returns "all".
func (Everywhere) String() string { return "all" }
