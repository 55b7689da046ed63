package charset_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/mysql/charset"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/testbed"
)

var versions = []testbed.MySQLVersion{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011}

func startServer(t *testing.T, version testbed.MySQLVersion) *sql.Conn {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real server; -short leaves it out")
	}
	m, err := testbed.StartMySQL(t.Context(), testbed.MySQLOptions{Version: version, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	db, err := m.Open("root", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.ExecContext(t.Context(), "SET NAMES utf8mb4, sql_mode = ''"); err != nil {
		t.Fatal(err)
	}
	return conn
}

func query(t *testing.T, conn *sql.Conn, statement string) [][]sql.NullString {
	t.Helper()
	rows, err := conn.QueryContext(context.Background(), statement)
	if err != nil {
		t.Fatalf("%.300s: %v", statement, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]sql.NullString
	for rows.Next() {
		row := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SLUICE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed: SLUICE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestAgainstServer compares the lists of sets and collations, and conversions both ways of random text and
// random bytes in every set.
func TestAgainstServer(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			conn := startServer(t, version)
			r := newRandom(t)
			for _, row := range query(t, conn, "SELECT CHARACTER_SET_NAME, MAXLEN FROM information_schema.CHARACTER_SETS") {
				set, ok := charset.Lookup(row[0].String)
				if !ok {
					t.Errorf("%s is not known", row[0].String)
					continue
				}
				if fmt.Sprint(set.MaxLen()) != row[1].String {
					t.Errorf("%s: %d bytes a character, the server says %s", set.Name(), set.MaxLen(), row[1].String)
				}
				if set.Name() != "binary" {
					checkText(t, conn, r, set)
					checkBytes(t, conn, r, set)
				}
			}
			checkCollations(t, conn, version)
		})
	}
}

func checkCollations(t *testing.T, conn *sql.Conn, version testbed.MySQLVersion) {
	t.Helper()
	flavor := gtid.MySQL
	statement := "SELECT ID, COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATIONS"
	if version.IsMariaDB() {
		flavor = gtid.MariaDB
		statement = "SELECT ID, FULL_COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"
	}
	rows := query(t, conn, statement)
	if len(rows) < 200 {
		t.Fatalf("%d collations", len(rows))
	}
	for _, row := range rows {
		id, err := strconv.ParseUint(row[0].String, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		name, set, ok := charset.CollationByID(flavor, uint32(id))
		wantName, wantSet := row[1].String, row[2].String
		if version == testbed.MySQL80 { // utf8 got its name utf8mb3 later
			wantName = strings.Replace(wantName, "utf8_", "utf8mb3_", 1)
			wantSet = strings.Replace(wantSet+" ", "utf8 ", "utf8mb3", 1)
			wantSet = strings.TrimSpace(wantSet)
		}
		if !ok || name != wantName || set != wantSet {
			t.Errorf("collation %d is %s of %s, the server says %s of %s", id, name, set, wantName, wantSet)
		}
	}
}

// rows is how many texts a statement carries.
const batch = 400

// checkText takes random characters that the set has, and wants the server to turn them into the same bytes
// and these into the same characters.
func checkText(t *testing.T, conn *sql.Conn, r *rand.Rand, set *charset.Charset) {
	t.Helper()
	var texts, natives [][]byte
	for range batch {
		text := randomText(r, set)
		native, err := set.AppendNative(nil, text)
		if err != nil {
			t.Fatal(err)
		}
		back, err := set.AppendUTF8(nil, native)
		if err != nil || !bytes.Equal(back, text) {
			t.Errorf("%s: %q becomes % X becomes %q, %v", set.Name(), text, native, back, err)
		}
		texts, natives = append(texts, text), append(natives, native)
	}
	var selects []string
	for i := range texts {
		selects = append(selects, fmt.Sprintf("SELECT %d, HEX(CONVERT(CONVERT(x'%x' USING utf8mb4) USING %s)), HEX(CONVERT(CONVERT(x'%x' USING %s) USING utf8mb4))",
			i, texts[i], set.Name(), natives[i], set.Name()))
	}
	for i, row := range query(t, conn, strings.Join(selects, " UNION ALL ")) {
		if want := fmt.Sprintf("%X", natives[i]); row[1].String != want {
			t.Errorf("%s: %q is %s here, %s at the server", set.Name(), texts[i], want, row[1].String)
		}
		if want := fmt.Sprintf("%X", texts[i]); row[2].String != want {
			t.Errorf("%s: % X is %s here, %s at the server", set.Name(), natives[i], want, row[2].String)
		}
	}
}

// randomText is text of characters that the set has, of which small sets have few.
func randomText(r *rand.Rand, set *charset.Charset) []byte {
	var text []byte
	for range r.IntN(30) {
		for range 50 {
			c := rune(r.IntN([]int{0x80, 0x100, 0x600, 0x10000, 0x110000}[r.IntN(5)]))
			if _, err := set.AppendNative(nil, []byte(string(c))); err == nil && utf8.ValidRune(c) && c != utf8.RuneError {
				text = utf8.AppendRune(text, c)
				break
			}
		}
	}
	return text
}

// checkBytes takes random bytes: where we find characters the server finds the same, and where we find none
// it says so too, by NULL or a question mark.
func checkBytes(t *testing.T, conn *sql.Conn, r *rand.Rand, set *charset.Charset) {
	t.Helper()
	var inputs [][]byte
	var selects []string
	for i := range batch {
		input := make([]byte, 1+r.IntN(6))
		for i := range input {
			for input[i] = '?'; input[i] == '?'; {
				input[i] = byte(r.Uint32() | r.Uint32()&0x80)
			}
		}
		inputs = append(inputs, input)
		selects = append(selects, fmt.Sprintf("SELECT %d, HEX(CONVERT(CONVERT(x'%x' USING %s) USING utf8mb4))", i, input, set.Name()))
	}
	for i, row := range query(t, conn, strings.Join(selects, " UNION ALL ")) {
		text, err := set.AppendUTF8([]byte("kept"), inputs[i])
		shown, decodeErr := hex.DecodeString(row[1].String)
		if decodeErr != nil {
			t.Fatal(decodeErr)
		}
		refused := !row[1].Valid || bytes.ContainsAny(shown, "?\uFFFD") || set.Name() == "ascii" || truncated(set, inputs[i], err, shown)
		switch {
		case err != nil && string(text) != "kept":
			t.Errorf("%s: an error, and dst is %q", set.Name(), text)
		case err == nil && !bytes.Equal(text[len("kept"):], shown):
			t.Errorf("%s: % X is %q here, %q at the server", set.Name(), inputs[i], text, shown)
		case err != nil && !refused && !padded(set, inputs[i]):
			t.Errorf("%s: % X: %v, but %q at the server", set.Name(), inputs[i], err, shown)
		}
	}
}

// truncated says whether the server cut the text off where we see the error.
func truncated(set *charset.Charset, input []byte, err error, shown []byte) bool {
	var invalid *charset.InvalidError
	if !errors.As(err, &invalid) {
		return false
	}
	before, err := set.AppendUTF8(nil, input[:invalid.Offset])
	return err == nil && bytes.Equal(before, shown)
}

// padded says whether the server completes the first character with zero bytes: it does so in the sets of 2
// and 4 bytes when it is given too few; a column cannot hold such text.
func padded(set *charset.Charset, input []byte) bool { return len(input)%set.MinLen() != 0 }

func TestNamesAreLookedUp(t *testing.T) {
	names := charset.Names()
	if len(names) < 41 || !slices.Contains(names, "utf8mb4") {
		t.Errorf("%d sets: %v", len(names), names)
	}
	utf8, ok := charset.Lookup("utf8")
	if !ok || utf8.Name() != "utf8mb3" {
		t.Error("utf8 is not utf8mb3")
	}
	if _, ok := charset.Lookup("UTF8MB4"); ok {
		t.Error("names are in lower case")
	}
	if _, _, ok := charset.CollationByID(gtid.MySQL, 60000); ok {
		t.Error("collation 60000")
	}
}
