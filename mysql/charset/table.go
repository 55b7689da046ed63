package charset

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
)

// tables.bin is an index, one entry a set (length of the name, name, length of the rest as 4 bytes big-endian),
// ended by a zero byte, and then each set's gzip stream in the index's order. What the streams hold, decodeMap
// says.
//
//go:embed tables.bin
var tablesFile []byte

// table is a set's map, both ways.
type table struct {
	ascii   bool // the bytes below 0x80 are ASCII
	back    bool // and ASCII becomes those bytes: in sjis the backslash does not
	root    *node
	four    []rune          // gb18030: code points of the 4-byte characters by fourIndex
	reverse map[rune]uint32 // the bytes as one big-endian number; they never begin with a zero, but for NUL
}

// node maps the next byte: to a code point, or to a further node. none is neither.
type node struct {
	leaf  [256]rune
	child [256]*node
}

const none = rune(-1)

func newNode() *node {
	n := &node{}
	for i := range n.leaf {
		n.leaf[i] = none
	}
	return n
}

// decode takes one character off the front of src; size 0 means that there is none.
func (t *table) decode(src []byte) (rune, int) {
	n := t.root
	for i := 0; i < len(src) && i < 3; i++ {
		if r := n.leaf[src[i]]; r != none {
			return r, i + 1
		}
		if n = n.child[src[i]]; n == nil {
			break
		}
	}
	if t.four != nil {
		return t.decodeFour(src)
	}
	return 0, 0
}

// The 4-byte characters of gb18030 are counted through: the first byte from 0x81, the second from 0x30 to
// 0x39, the third from 0x81 to 0xFE, the fourth from 0x30 to 0x39. Up to U+FFFF they go by table; from
// 90 30 81 30 on they are U+10000 and what follows, in order.
const (
	fourSupplementary = (0x90 - 0x81) * 10 * 126 * 10
	supplementary     = 0x10000
)

// fourIndex is the number of a 4-byte character, or false for other bytes.
func fourIndex(b []byte) (int, bool) {
	if len(b) < 4 || b[0] < 0x81 || b[0] == 0xff || b[1] < 0x30 || b[1] > 0x39 ||
		b[2] < 0x81 || b[2] == 0xff || b[3] < 0x30 || b[3] > 0x39 {
		return 0, false
	}
	return ((int(b[0]-0x81)*10+int(b[1]-0x30))*126+int(b[2]-0x81))*10 + int(b[3]-0x30), true
}

func appendFour(dst []byte, index int) []byte {
	return append(dst, byte(0x81+index/12600), byte(0x30+index/1260%10), byte(0x81+index/10%126), byte(0x30+index%10))
}

func (t *table) decodeFour(src []byte) (rune, int) {
	index, ok := fourIndex(src)
	switch {
	case !ok:
		return 0, 0
	case index >= fourSupplementary:
		if r := rune(index - fourSupplementary + supplementary); r <= 0x10ffff {
			return r, 4
		}
	case index < len(t.four) && t.four[index] != none:
		return t.four[index], 4
	}
	return 0, 0
}

func (t *table) encode(dst []byte, r rune) ([]byte, bool) {
	if t.back && r < 0x80 {
		return append(dst, byte(r)), true
	}
	code, ok := t.reverse[r]
	switch {
	case !ok && t.four != nil && r >= supplementary:
		return appendFour(dst, int(r)-supplementary+fourSupplementary), true
	case !ok:
		return dst, false
	}
	return appendCode(dst, code), true
}

// appendCode appends the bytes that code counts, without leading zeros.
func appendCode(dst []byte, code uint32) []byte {
	for shift := 24; shift > 0; shift -= 8 {
		if code>>shift != 0 {
			dst = append(dst, byte(code>>shift))
		}
	}
	return append(dst, byte(code))
}

// load gives the set's table, unpacked on first use.
func (c *Charset) load() (*table, error) {
	switch c.codec {
	case codecMapped:
		c.once.Do(func() { c.table, c.loadErr = unpack(tablesFile, c.name) })
		return c.table, c.loadErr
	case codecUTF8, codecASCII, codecBinary:
		return asciiTable, nil
	}
	return wideTable, nil
}

// unpack finds and reads one set's table.
func unpack(file []byte, name string) (*table, error) {
	at, offset, length := 0, 0, -1
	for file[at] != 0 {
		n := int(file[at])
		size := int(binary.BigEndian.Uint32(file[at+1+n:]))
		switch {
		case length >= 0:
		case string(file[at+1:at+1+n]) == name:
			length = size
		default:
			offset += size
		}
		at += 1 + n + 4
	}
	if length < 0 {
		return nil, fmt.Errorf("character set %s: no table in tables.bin", name)
	}
	packed, err := gzip.NewReader(bytes.NewReader(file[at+1+offset:][:length]))
	if err != nil {
		return nil, fmt.Errorf("character set %s: %w", name, err)
	}
	defer packed.Close()
	encoded, err := io.ReadAll(packed)
	if err != nil {
		return nil, fmt.Errorf("character set %s: %w", name, err)
	}
	mappings, err := decodeMap(encoded)
	if err != nil {
		return nil, fmt.Errorf("character set %s: %w", name, err)
	}
	return buildTable(mappings), nil
}

// buildTable makes the table of a set.
func buildTable(mappings []mapping) *table {
	t := &table{root: newNode(), reverse: make(map[rune]uint32, len(mappings)), ascii: true, back: true}
	for _, m := range mappings {
		t.put(m)
	}
	for i := range rune(0x80) {
		t.ascii = t.ascii && t.root.leaf[i] == i
		code, ok := t.reverse[i]
		t.back = t.back && ok && code == uint32(i)
	}
	return t
}

func (t *table) put(m mapping) {
	if m.back {
		t.reverse[m.r] = m.code
	}
	b := appendCode(nil, m.code)
	if index, ok := fourIndex(b); ok {
		for len(t.four) <= index {
			t.four = append(t.four, none)
		}
		t.four[index] = m.r
		return
	}
	n := t.root
	for _, c := range b[:len(b)-1] {
		if n.child[c] == nil {
			n.child[c] = newNode()
		}
		n = n.child[c]
	}
	n.leaf[b[len(b)-1]] = m.r
}
