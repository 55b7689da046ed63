package rowimage

import (
	"encoding/binary"
	"errors"
)

// errShort says that bytes end before what they announce.
var errShort = errors.New("the bytes end too early")

// reader takes bytes off the front of b. When there are too few, every further call gives zeros and fail is
// set, so that a parser may look once at the end of a group of fields.
type reader struct {
	b    []byte
	fail bool
}

func (r *reader) err() error {
	if r.fail {
		return errShort
	}
	return nil
}

func (r *reader) take(n uint64) []byte {
	if r.fail || n > uint64(len(r.b)) {
		r.fail, r.b = true, nil
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) skip(n uint64) { r.take(n) }

func (r *reader) uint8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint48() uint64 {
	if b := r.take(6); b != nil {
		return littleEndian(b)
	}
	return 0
}

// packed reads the protocol's length-encoded integer.
func (r *reader) packed() uint64 {
	switch first := r.uint8(); first {
	case 0xfb, 0xff: // NULL and an error packet: no number
		r.fail = true
		return 0
	case 0xfc:
		return littleEndian(r.take(2))
	case 0xfd:
		return littleEndian(r.take(3))
	case 0xfe:
		return littleEndian(r.take(8))
	default:
		return uint64(first)
	}
}

// littleEndian reads up to 8 bytes as one unsigned number.
func littleEndian(b []byte) uint64 {
	var n uint64
	for i := len(b) - 1; i >= 0; i-- {
		n = n<<8 | uint64(b[i])
	}
	return n
}

// bigEndian reads up to 8 bytes as one unsigned number.
func bigEndian(b []byte) uint64 {
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// bit reports bit i of a bitmap whose lowest bit comes first.
func bit(bitmap []byte, i int) bool { return bitmap[i>>3]&(1<<(i&7)) != 0 }

func bitmapLength(bits int) int { return (bits + 7) / 8 }
