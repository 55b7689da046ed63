// Package charset turns text in any of MySQL's and MariaDB's character sets into UTF-8 and back, exactly as
// the server does, and names the collations that TABLE_MAP events number.
//
// The maps of the 8-bit and East Asian sets were asked of a real server by mysql/charset/gen and lie in
// tables.bin; a set's map is unpacked when it is first used. The Unicode sets, ascii and binary need none.
//
// Bytes that are no characters in their set are an error and never become '?': the server stores such bytes
// only where somebody went round its checks, and a replaced character would be a lost one.
//
// Everything here is safe for concurrent use.
package charset

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Charset is one character set.
type Charset struct {
	name   string
	maxLen int
	codec  codec

	once    sync.Once
	table   *table // of a mapped set, after once
	loadErr error
}

// codec is the way a set's bytes are made of code points.
type codec uint8

const (
	codecMapped codec = iota // by a table of tables.bin
	codecUTF8
	codecASCII
	codecBinary
	codecUCS2
	codecUTF16
	codecUTF16LE
	codecUTF32
)

// Lookup returns the set of that name in lower case, as SHOW CHARACTER SET has it. "utf8" is utf8mb3.
func Lookup(name string) (*Charset, bool) {
	if name == "utf8" {
		name = "utf8mb3"
	}
	c, ok := charsets[name]
	return c, ok
}

// Name returns the set's name.
func (c *Charset) Name() string { return c.name }

// MaxLen is the most bytes that a character takes; the server counts a column's bytes as characters times
// this.
func (c *Charset) MaxLen() int { return c.maxLen }

// MinLen is the fewest bytes that a character takes: 2 for ucs2, utf16 and utf16le, 4 for utf32, else 1.
func (c *Charset) MinLen() int {
	switch c.codec {
	case codecUCS2, codecUTF16, codecUTF16LE:
		return 2
	case codecUTF32:
		return 4
	}
	return 1
}

// InvalidError says that bytes are no characters in their set, or that a character is not in the set.
type InvalidError struct {
	Charset string
	Offset  int    // where in the text
	Bytes   []byte // the first bytes that are wrong, no more than 8
	Into    bool   // Bytes are UTF-8 for which the set has nothing
}

// Error says what is wrong and where.
func (e *InvalidError) Error() string {
	if e.Into {
		return fmt.Sprintf("character set %s has no character for UTF-8 % X at byte %d", e.Charset, e.Bytes, e.Offset)
	}
	return fmt.Sprintf("bytes % X at byte %d are no character in character set %s", e.Bytes, e.Offset, e.Charset)
}

const invalidBytesMax = 8

func (c *Charset) invalid(text []byte, offset int, into bool) error {
	wrong := text[offset:min(len(text), offset+invalidBytesMax)]
	return &InvalidError{Charset: c.name, Offset: offset, Bytes: append([]byte(nil), wrong...), Into: into}
}

// AppendUTF8 appends src, which is in the set, to dst in UTF-8. On bytes that are no characters it returns
// dst as it was and an *InvalidError.
func (c *Charset) AppendUTF8(dst, src []byte) ([]byte, error) {
	if c.codec == codecUTF8 {
		if !utf8.Valid(src) || c.maxLen == 3 && slices.ContainsFunc(src, leadsFour) {
			return dst, c.invalid(src, c.invalidUTF8(src), false)
		}
		return append(dst, src...), nil
	}
	t, err := c.load()
	if err != nil {
		return dst, err
	}
	start := len(dst)
	if cap(dst)-start < len(src) {
		dst = append(make([]byte, 0, start+len(src)+len(src)/2+16), dst...)
	}
	for at := 0; at < len(src); {
		if b := src[at]; b < utf8.RuneSelf && t.ascii {
			dst = append(dst, b)
			at++
			continue
		}
		r, size := c.decode(t, src[at:])
		if size == 0 {
			return dst[:start], c.invalid(src, at, false)
		}
		dst = utf8.AppendRune(dst, r)
		at += size
	}
	return dst, nil
}

// AppendNative appends src, which is UTF-8, to dst in the set. On characters that the set has not it returns
// dst as it was and an *InvalidError.
func (c *Charset) AppendNative(dst, src []byte) ([]byte, error) {
	start := len(dst)
	t, err := c.load()
	if err != nil {
		return dst, err
	}
	for at := 0; at < len(src); {
		r, size := utf8.DecodeRune(src[at:])
		ok := size > 1 || r != utf8.RuneError
		if ok {
			dst, ok = c.encode(t, dst, r)
		}
		if !ok {
			return dst[:start], c.invalid(src, at, true)
		}
		at += size
	}
	return dst, nil
}

// leadsFour says whether the byte begins a character of 4 bytes, which utf8mb3 has not.
func leadsFour(b byte) bool { return b >= 0xf0 }

// invalidUTF8 is the offset of the first byte that is no character.
func (c *Charset) invalidUTF8(src []byte) int {
	for at := 0; at < len(src); {
		r, size := utf8.DecodeRune(src[at:])
		if r == utf8.RuneError && size <= 1 || size > c.maxLen {
			return at
		}
		at += size
	}
	return len(src)
}

// Names returns the names of all sets.
func Names() []string {
	names := make([]string, 0, len(charsets))
	for name := range charsets {
		names = append(names, name)
	}
	return names
}

// charsets are all sets of MySQL 9.7, 8.0 and MariaDB 10.11. The mapped ones are in tables.bin.
var charsets = func() map[string]*Charset {
	sets := map[string]*Charset{}
	add := func(codec codec, maxLen int, names string) {
		for name := range strings.FieldsSeq(names) {
			sets[name] = &Charset{name: name, maxLen: maxLen, codec: codec}
		}
	}
	add(codecUTF8, 3, "utf8mb3")
	add(codecUTF8, 4, "utf8mb4")
	add(codecASCII, 1, "ascii")
	add(codecBinary, 1, "binary")
	add(codecUCS2, 2, "ucs2")
	add(codecUTF16, 4, "utf16")
	add(codecUTF16LE, 4, "utf16le")
	add(codecUTF32, 4, "utf32")
	add(codecMapped, 1, `armscii8 cp1250 cp1251 cp1256 cp1257 cp850 cp852 cp866 dec8 geostd8 greek hebrew hp8
		keybcs2 koi8r koi8u latin1 latin2 latin5 latin7 macce macroman swe7 tis620`)
	add(codecMapped, 2, "big5 cp932 euckr gb2312 gbk sjis")
	add(codecMapped, 3, "eucjpms ujis")
	add(codecMapped, 4, "gb18030")
	return sets
}()
