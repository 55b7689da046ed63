package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/mysql/charset"
)

// entry says that the bytes code, read as one big-endian number, are the code point r.
type entry struct {
	code uint32
	r    rune
	back bool // the server turns r into code again
}

// unmapped are the sets that package charset reads by rule.
const unmapped = " ascii binary ucs2 utf16 utf16le utf32 utf8 utf8mb3 utf8mb4 "

// candidates are, by length, the byte sequences that can be a character; the numbers are inclusive ranges of
// each byte. The server says which of them are one.
func candidates(set string) [][][2]int {
	all := [2]int{0, 255}
	sequences := [][][2]int{{all}}
	switch set {
	case "big5", "cp932", "euckr", "gb2312", "gbk", "sjis":
		sequences = append(sequences, [][2]int{all, all})
	case "ujis", "eucjpms":
		sequences = append(sequences, [][2]int{all, all}, [][2]int{{0x8f, 0x8f}, all, all})
	case "gb18030": // 4 bytes up to U+FFFF; from U+10000 on the set is a plain count
		sequences = append(sequences, [][2]int{all, all},
			[][2]int{{0x81, 0x84}, {0x30, 0x39}, {0x81, 0xfe}, {0x30, 0x39}})
	}
	return sequences
}

// readMaps reads the maps of all sets that have one, each in the order of codes.
func readMaps(ctx context.Context, conn *sql.Conn) (map[string][]entry, error) {
	rows, err := conn.QueryContext(ctx, "SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var sets []string
	for rows.Next() {
		var set string
		if err := rows.Scan(&set); err != nil {
			return nil, err
		}
		if !strings.Contains(unmapped, " "+set+" ") {
			sets = append(sets, set)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	maps := map[string][]entry{}
	for _, set := range sets {
		for _, ranges := range candidates(set) {
			entries, err := readMap(ctx, conn, set, ranges)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", set, err)
			}
			maps[set] = append(maps[set], entries...)
		}
		fmt.Fprintf(os.Stderr, "%-9s %6d characters\n", set, len(maps[set]))
	}
	return maps, nil
}

// readMap asks the server, in one statement, what each sequence of bytes is.
func readMap(ctx context.Context, conn *sql.Conn, set string, ranges [][2]int) ([]entry, error) {
	var bytes, from, where []string
	for i, r := range ranges {
		bytes = append(bytes, fmt.Sprintf("CHAR(b%d.i)", i))
		from = append(from, fmt.Sprintf("n b%d", i))
		where = append(where, fmt.Sprintf("b%d.i BETWEEN %d AND %d", i, r[0], r[1]))
	}
	query := fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 255),
		candidate AS (SELECT CONCAT(%[2]s) c FROM %[3]s WHERE %[4]s),
		text AS (SELECT c, CONVERT(CONVERT(c USING %[1]s) USING utf8mb4) t FROM candidate
			WHERE CHAR_LENGTH(CONVERT(c USING %[1]s)) = 1 AND CONVERT(CONVERT(c USING %[1]s) USING binary) = c)
		SELECT c, CONVERT(t USING binary), CONVERT(CONVERT(t USING %[1]s) USING binary) FROM text
		WHERE t IS NOT NULL ORDER BY c`,
		set, strings.Join(bytes, ","), strings.Join(from, ","), strings.Join(where, " AND "))
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var entries []entry
	for rows.Next() {
		var code, text, back sql.RawBytes
		if err := rows.Scan(&code, &text, &back); err != nil {
			return nil, err
		}
		r, size := utf8.DecodeRune(text)
		if size != len(text) {
			return nil, fmt.Errorf("% X is % X in UTF-8, not one character", code, text)
		}
		free := r == '?' && string(code) != "?"
		nowhere := r == utf8.RuneError && set != "gb18030" // big5 has seven codes that Unicode has no place for
		if free || nowhere {
			continue
		}
		entries = append(entries, entry{code: number(code), r: r, back: string(back) == string(code)})
	}
	return entries, rows.Err()
}

func number(b []byte) uint32 {
	var n uint32
	for _, c := range b {
		n = n<<8 | uint32(c)
	}
	return n
}

// compare prints where the server's maps are not those of package charset.
func compare(maps map[string][]entry) error {
	differs := false
	for set, entries := range maps {
		c, ok := charset.Lookup(set)
		if !ok {
			return fmt.Errorf("%s: package charset does not know it", set)
		}
		count := 0
		for _, e := range entries {
			ours, err := c.AppendUTF8(nil, codeBytes(e.code))
			if err == nil && string(ours) == string(e.r) {
				continue
			}
			if count++; count <= 5 {
				fmt.Printf("%s: %X is %U here, package charset has %q %v\n", set, e.code, e.r, ours, err)
			}
		}
		if count > 0 {
			fmt.Printf("%s: %d of %d characters differ\n", set, count, len(entries))
			differs = true
		}
	}
	if differs {
		return errDiffers
	}
	return nil
}

func codeBytes(code uint32) []byte {
	b := []byte{byte(code >> 24), byte(code >> 16), byte(code >> 8), byte(code)}
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

// sorted returns the names of the sets in order, so that the file is the same from run to run.
func sorted(maps map[string][]entry) []string {
	names := make([]string, 0, len(maps))
	for name := range maps {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
