package charset

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

// noTable is what the sets that need no map have: only whether bytes below 0x80 are ASCII.
var (
	asciiTable = &table{ascii: true}
	wideTable  = &table{}
)

// decode takes one character off the front of src, which is not empty; size 0 means that there is none.
func (c *Charset) decode(t *table, src []byte) (r rune, size int) {
	switch c.codec {
	case codecMapped:
		return t.decode(src)
	case codecUTF8, codecBinary:
		// Text can be declared binary (an ENUM's names): as UTF-8 it is text, anything else is none.
		r, size = utf8.DecodeRune(src)
		if r == utf8.RuneError && size <= 1 {
			return 0, 0
		}
		return r, size
	case codecUCS2:
		if len(src) < 2 {
			return 0, 0
		}
		r, size = rune(binary.BigEndian.Uint16(src)), 2
	case codecUTF16:
		return decodeUTF16(src, binary.BigEndian)
	case codecUTF16LE:
		return decodeUTF16(src, binary.LittleEndian)
	case codecUTF32:
		if len(src) < 4 {
			return 0, 0
		}
		r, size = rune(binary.BigEndian.Uint32(src)), 4
	default: // codecASCII above 0x7f
		return 0, 0
	}
	if !utf8.ValidRune(r) {
		return 0, 0
	}
	return r, size
}

func decodeUTF16(src []byte, order binary.ByteOrder) (rune, int) {
	if len(src) < 2 {
		return 0, 0
	}
	r := rune(order.Uint16(src))
	if !utf16.IsSurrogate(r) {
		return r, 2
	}
	if len(src) < 4 {
		return 0, 0
	}
	if r = utf16.DecodeRune(r, rune(order.Uint16(src[2:]))); r == utf8.RuneError {
		return 0, 0
	}
	return r, 4
}

// encode appends one character.
func (c *Charset) encode(t *table, dst []byte, r rune) ([]byte, bool) {
	switch c.codec {
	case codecMapped:
		return t.encode(dst, r)
	case codecASCII:
		return append(dst, byte(r)), r < utf8.RuneSelf
	case codecUCS2:
		return binary.BigEndian.AppendUint16(dst, uint16(r)), r <= 0xffff
	case codecUTF16, codecUTF16LE:
		return appendUTF16(dst, r, c.codec == codecUTF16LE), true
	case codecUTF32:
		return binary.BigEndian.AppendUint32(dst, uint32(r)), true
	}
	if c.codec == codecUTF8 && utf8.RuneLen(r) > c.maxLen {
		return dst, false
	}
	return utf8.AppendRune(dst, r), true
}

func appendUTF16(dst []byte, r rune, little bool) []byte {
	for _, unit := range utf16.AppendRune(nil, r) {
		if little {
			dst = binary.LittleEndian.AppendUint16(dst, unit)
		} else {
			dst = binary.BigEndian.AppendUint16(dst, unit)
		}
	}
	return dst
}
