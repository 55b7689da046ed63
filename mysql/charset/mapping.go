package charset

import (
	"encoding/binary"
	"errors"
)

// mapping says that the bytes code, read as one big-endian number, are the code point r.
type mapping struct {
	code uint32
	r    rune
	back bool // and the server turns r into code: of two codes for one code point only one has it
}

// decodeMap reads one set's stream: for each mapping, in the order of codes, the difference to the code
// before, doubled, plus 1 where back is not set, as an unsigned varint, then the difference of the code point
// to the one after the code point before, as a signed varint.
func decodeMap(encoded []byte) ([]mapping, error) {
	broken := errors.New("its table is broken")
	var mappings []mapping
	var code uint32
	next := rune(0)
	for len(encoded) > 0 {
		delta, n := binary.Uvarint(encoded)
		if n <= 0 {
			return nil, broken
		}
		encoded = encoded[n:]
		step, n := binary.Varint(encoded)
		if n <= 0 {
			return nil, broken
		}
		encoded = encoded[n:]
		code += uint32(delta >> 1)
		r := next + rune(step)
		mappings = append(mappings, mapping{code: code, r: r, back: delta&1 == 0})
		next = r + 1
	}
	return mappings, nil
}
