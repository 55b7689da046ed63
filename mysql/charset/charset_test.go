package charset

import (
	"bytes"
	"errors"
	"testing"
	"unicode/utf8"
)

func lookup(t testing.TB, name string) *Charset {
	t.Helper()
	c, ok := Lookup(name)
	if !ok {
		t.Fatalf("no character set %s", name)
	}
	return c
}

func TestConversions(t *testing.T) {
	for _, test := range []struct{ set, native, text string }{
		{"latin1", "\x80\xe4\x81", "€ä\u0081"}, // MySQL's latin1 is cp1252 with the free codes kept
		{"swe7", "[\\]", "ÄÖÅ"},
		{"cp932", "\x87\x54", "Ⅰ"},
		{"sjis", "\x81\x5f", "\\"},
		{"ujis", "\x8f\xa2\xaf\xa4\xa2", "˘あ"},
		{"gb18030", "\x81\x30\x81\x30\x84\x31\xa4\x37\x90\x30\x81\x30\xe3\x32\x9a\x35", "\u0080\ufffd\U00010000\U0010ffff"},
		{"ucs2", "\x00a\x20\x20", "a†"},
		{"utf16", "\xd8\x3d\xde\x00", "😀"},
		{"utf16le", "\x3d\xd8\x00\xde", "😀"},
		{"utf32", "\x00\x01\xf6\x00", "😀"},
		{"utf8mb4", "😀", "😀"},
		{"utf8mb3", "ä", "ä"},
		{"binary", "ä", "ä"},
	} {
		c := lookup(t, test.set)
		if got, err := c.AppendUTF8([]byte("x"), []byte(test.native)); err != nil || string(got) != "x"+test.text {
			t.Errorf("%s: % X is %q, %v; want %q", test.set, test.native, got, err, test.text)
		}
		if got, err := c.AppendNative([]byte("x"), []byte(test.text)); err != nil || string(got) != "x"+test.native {
			t.Errorf("%s: %q is % X, %v; want % X", test.set, test.text, got, err, test.native)
		}
	}
}

func TestWhatIsNoCharacterIsAnError(t *testing.T) {
	for _, test := range []struct {
		set, native string
		offset      int
	}{
		{"ascii", "a\x80", 1},
		{"utf8mb4", "ab\xff", 2},
		{"utf8mb4", "\xed\xa0\x80", 0}, // half of a surrogate pair
		{"utf8mb3", "a\xc3", 1},
		{"utf8mb3", "ä😀", 2},
		{"ucs2", "\xd8\x00", 0},
		{"ucs2", "\x00a\x00", 2},
		{"utf16", "\xd8\x3d\x00a", 0},
		{"utf16le", "\x00\xdc", 0},
		{"utf16le", "\x3d\xd8", 0},
		{"utf32", "\x00\x11\x00\x00", 0},
		{"utf32", "\x00\x00\x00", 0},
		{"sjis", "a\x81", 1},
		{"gbk", "\x81\x20", 0},
		{"gb18030", "\x81\x30\x81", 0},
		{"gb18030", "\xfe\x39\xfe\x39", 0},
		{"big5", "\xa1\x5a", 0}, // Unicode has no place for it, and U+FFFD would be a lost character
		{"ujis", "\x8f\xa2", 0},
		{"hp8", "\xff", 0},
		{"binary", "\xff", 0},
	} {
		got, err := lookup(t, test.set).AppendUTF8([]byte("kept"), []byte(test.native))
		var invalid *InvalidError
		if !errors.As(err, &invalid) || invalid.Offset != test.offset || string(got) != "kept" {
			t.Errorf("%s: % X gives %q, %v", test.set, test.native, got, err)
		}
	}
	for _, test := range [][2]string{{"ascii", "aä"}, {"latin1", "aж"}, {"utf8mb3", "a😀"}, {"ucs2", "a😀"}, {"big5", "a\ufffd"}, {"utf8mb4", "a\xff"}} {
		got, err := lookup(t, test[0]).AppendNative([]byte("kept"), []byte(test[1]))
		var invalid *InvalidError
		if !errors.As(err, &invalid) || invalid.Offset != 1 || !invalid.Into || string(got) != "kept" {
			t.Errorf("into %s: %q gives % X, %v", test[0], test[1], got, err)
		}
	}
}

// TestTablesAreWhole reads every table: each code goes to a code point, and back where back is set.
func TestTablesAreWhole(t *testing.T) {
	for name, c := range charsets {
		if c.codec != codecMapped {
			continue
		}
		table, err := c.load()
		if err != nil {
			t.Fatal(err)
		}
		if len(table.reverse) < 100 {
			t.Errorf("%s: %d characters", name, len(table.reverse))
		}
		for r, code := range table.reverse {
			native := appendCode(nil, code)
			text, err := c.AppendUTF8(nil, native)
			if err != nil || string(text) != string(r) {
				t.Fatalf("%s: % X is %q, %v; want %q", name, native, text, err, r)
			}
			if again, err := c.AppendNative(nil, text); err != nil || !bytes.Equal(again, native) {
				t.Fatalf("%s: %q is % X, %v; want % X", name, text, again, err, native)
			}
		}
	}
}

func TestBrokenTableIsAnError(t *testing.T) {
	if _, err := unpack(tablesFile, "klingon"); err == nil {
		t.Error("a set without a table has one")
	}
	for _, encoded := range [][]byte{{0x80}, {2, 0x80}} {
		if _, err := decodeMap(encoded); err == nil {
			t.Errorf("% X is read", encoded)
		}
	}
}

func FuzzAppendUTF8(f *testing.F) {
	names := Names()
	f.Add(0, []byte("abc\xff\x81\x30"))
	f.Fuzz(func(t *testing.T, set int, native []byte) {
		c := lookup(t, names[uint(set)%uint(len(names))])
		text, err := c.AppendUTF8(nil, native)
		if err != nil {
			return
		}
		if !utf8.Valid(text) {
			t.Fatalf("%s: % X gives % X, which is not UTF-8", c.name, native, text)
		}
		if again, err := c.AppendNative(nil, text); err == nil {
			if text2, err := c.AppendUTF8(nil, again); err != nil || !bytes.Equal(text, text2) {
				t.Fatalf("%s: %q becomes % X becomes %q, %v", c.name, text, again, text2, err)
			}
		}
	})
}

func BenchmarkAppendUTF8(b *testing.B) {
	text := []byte("Der Text hat größere Länge, dazu ein paar Umlaute: ä ö ü ß; sonst ist es ASCII wie überall.")
	for _, set := range []string{"utf8mb4", "latin1", "utf16", "gb18030"} {
		c := lookup(b, set)
		native, err := c.AppendNative(nil, text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(set, func(b *testing.B) {
			b.SetBytes(int64(len(native)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				if dst, err = c.AppendUTF8(dst[:0], native); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
