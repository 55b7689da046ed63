package avro

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sluice-cdc/sluice/schema"
)

// errTruncated is all that hostile or cut bytes lead to, where nothing better is known.
var errTruncated = errors.New("the record ends in the middle of a value, or a length or number in it cannot be")

// reader takes Avro primitives off a record. Its failure is sticky: a read after one gives zero values, so that the
// caller asks once a field.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) fail() {
	r.failed, r.rest = true, nil
}

func (r *reader) long() int64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 { // most lengths and branches
		n := r.rest[0]
		r.rest = r.rest[1:]
		return int64(n>>1) ^ -int64(n&1)
	}
	n, size := binary.Varint(r.rest)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// int reads an Avro int: a long of 32 bits.
func (r *reader) int() int32 {
	n := r.long()
	if n != int64(int32(n)) {
		r.fail()
		return 0
	}
	return int32(n)
}

// take returns the next size bytes, aliasing the record.
func (r *reader) take(size int64) []byte {
	if size < 0 || size > int64(len(r.rest)) {
		r.fail()
		return nil
	}
	b := r.rest[:size:size]
	r.rest = r.rest[size:]
	return b
}

// bytes reads a bytes or string. It is never nil unless it failed.
func (r *reader) bytes() []byte { return r.take(r.long()) }

// branch reads the index of a union of that many branches.
func (r *reader) branch(branches int) int {
	n := r.long()
	if n < 0 || n >= int64(branches) {
		r.fail()
		return 0
	}
	return int(n)
}

// skipDepthMax bounds the recursion of skip: a type can hold itself.
const skipDepthMax = 64

// skip passes over a value of any type: a field that this version of Sluice does not know.
func (r *reader) skip(t *schema.Type, depth int) {
	if depth > skipDepthMax {
		r.fail()
	}
	if r.failed {
		return
	}
	switch t.Kind {
	case "null":
	case "boolean":
		r.take(1)
	case "int", "long", "enum":
		r.long()
	case "float":
		r.take(4)
	case "double":
		r.take(8)
	case "bytes", "string":
		r.bytes()
	case "fixed":
		r.take(int64(t.Size))
	case "union":
		if i := r.branch(len(t.Branches)); !r.failed {
			r.skip(t.Branches[i], depth+1)
		}
	case "record":
		for i := range t.Fields {
			r.skip(t.Fields[i].Type, depth+1)
		}
	case "array", "map":
		r.skipBlocks(t, depth)
	default:
		r.fail()
	}
}

func (r *reader) skipBlocks(t *schema.Type, depth int) {
	for !r.failed {
		count := r.long()
		if count == 0 {
			return
		}
		if count < 0 { // the block's size in bytes follows
			r.take(r.long())
			continue
		}
		if count > int64(len(r.rest)) { // no writer makes blocks of items without bytes
			r.fail()
		}
		for ; count > 0 && !r.failed; count-- {
			if t.Kind == "map" {
				r.bytes()
			}
			r.skip(t.Items, depth+1)
		}
	}
}

// end reports what went wrong by the end of the record.
func (r *reader) end(what string) error {
	if r.failed {
		return fmt.Errorf("decode %s: %w", what, errTruncated)
	}
	if len(r.rest) > 0 {
		return fmt.Errorf("decode %s: %d bytes too many", what, len(r.rest))
	}
	return nil
}
