package avro

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/charset"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/schema"
)

// This file makes random tables and rows, and gives each value in three ways that share no code with the encoder: the
// canonical value, the bytes of the binlog's row image and the bytes of the text protocol.

// cellValue is one value in its three ways.
type cellValue struct {
	canonical change.Value
	image     []byte
	text      []byte // nil: NULL
}

type randomRows struct{ *rand.Rand }

func (r randomRows) table() *change.Table {
	t := &change.Table{TableName: change.TableName{DB: "db", Name: "t"}}
	for i := range 1 + r.IntN(12) {
		t.Columns = append(t.Columns, r.column(i))
	}
	for i := range t.Columns {
		if len(t.Key) < 3 && (r.IntN(4) == 0 || i == len(t.Columns)-1 && t.Key == nil) {
			t.Columns[i].Nullable = false
			t.Key = append(t.Key, i)
		}
	}
	r.Shuffle(len(t.Key), func(i, j int) { t.Key[i], t.Key[j] = t.Key[j], t.Key[i] })
	return t
}

func (r randomRows) column(i int) change.Column {
	c := change.Column{Name: "c" + strconv.Itoa(i), Nullable: r.IntN(2) == 0}
	c.Type = change.Type(int(change.TinyInt) + r.IntN(int(change.Vector)))
	switch c.Type {
	case change.Decimal:
		c.Precision = 1 + r.IntN(65)
		c.Scale = r.IntN(min(30, c.Precision) + 1)
	case change.Time, change.DateTime, change.Timestamp:
		c.Scale = r.IntN(7)
	case change.Char, change.VarChar, change.VarBinary, change.Binary:
		c.Length = r.IntN(256)
	case change.Bit:
		c.Length = 1 + r.IntN(64)
	case change.Vector:
		c.Length = 1 + r.IntN(20)
	case change.Geometry:
		c.Geometry = []string{"geometry", "point", "linestring"}[r.IntN(3)]
	}
	c.Unsigned = c.Type <= change.Double && r.IntN(2) == 0
	if c.Type.Character() || c.Type == change.Enum || c.Type == change.Set {
		names := charset.Names()
		sort.Strings(names)
		c.Charset = names[r.IntN(len(names))]
		if c.Charset == "binary" { // such a column is BINARY, VARBINARY or BLOB
			c.Charset = "utf8mb4"
		}
		c.Collation = c.Charset + "_bin"
	}
	switch c.Type {
	case change.Enum:
		c.Elements = r.names(&c, 1+r.IntN(300))
	case change.Set:
		c.Elements = r.names(&c, 1+r.IntN(64))
	}
	return c
}

// names makes different names that the column's charset has, without commas.
func (r randomRows) names(c *change.Column, n int) []string {
	seen := map[string]bool{}
	var names []string
	for i := range n {
		_, utf := r.chars(c.Charset, r.IntN(4))
		name := strings.ReplaceAll(utf, ",", "") + strconv.Itoa(i)
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// chars makes text of so many characters in the charset and in UTF-8.
func (r randomRows) chars(name string, n int) (native []byte, utf string) {
	cs, _ := charset.Lookup(name)
	for range n {
		char := rune(r.IntN(0x80))
		switch r.IntN(4) {
		case 0:
			char = rune(r.IntN(0x800))
		case 1:
			char = rune(r.IntN(0x10000))
		case 2:
			char = rune(r.IntN(0x110000))
		}
		if !utf8.ValidRune(char) {
			continue
		}
		with, err := cs.AppendNative(native, []byte(string(char)))
		if err != nil {
			continue
		}
		if back, err := cs.AppendUTF8(nil, with[len(native):]); err == nil && string(back) == string(char) {
			native, utf = with, utf+string(char)
		}
	}
	return native, utf
}

func (r randomRows) value(c *change.Column, key bool) cellValue {
	if c.Nullable && !key && r.IntN(5) == 0 {
		return cellValue{}
	}
	v := r.filled(c)
	if v.text == nil {
		v.text = []byte{}
	}
	return v
}

func (r randomRows) filled(c *change.Column) cellValue {
	switch {
	case c.Type.Integer():
		return r.integer(c)
	case c.Type.Character():
		native, utf := r.chars(c.Charset, r.IntN(60))
		return cellValue{change.StringValue(utf), native, native}
	case c.Type == change.Binary:
		b := r.bytes(r.IntN(c.Length + 1))
		padded := append(append([]byte{}, b...), make([]byte, c.Length-len(b))...)
		return cellValue{change.RawValue(padded), []byte(strings.TrimRight(string(padded), "\x00")), padded}
	case c.Type.Opaque():
		b := r.bytes(r.IntN(200))
		return cellValue{change.RawValue(b), b, b}
	}
	switch c.Type {
	case change.Decimal:
		return r.decimal(c)
	case change.Float, change.Double:
		return r.float(c)
	case change.Bit:
		b := r.bytes((c.Length + 7) / 8)
		if over := c.Length % 8; over != 0 {
			b[0] &= 1<<over - 1
		}
		return cellValue{change.RawValue(b), b, b}
	case change.Enum:
		return r.enum(c)
	case change.Set:
		return r.set(c)
	case change.JSON:
		return r.json()
	case change.Geometry:
		return r.geometry(c)
	case change.Vector:
		b := r.bytes(4 * r.IntN(c.Length+1))
		return cellValue{change.RawValue(b), b, b}
	}
	return r.temporal(c)
}

func (r randomRows) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
		if r.IntN(8) == 0 {
			b[i] = []byte{0, 0xff, ' ', '\\'}[r.IntN(4)]
		}
	}
	return b
}

// edge returns a number of that many bits: often one at the edge.
func (r randomRows) edge(bits int) uint64 {
	mask := uint64(1)<<(bits-1)<<1 - 1
	switch r.IntN(4) {
	case 0:
		return []uint64{0, 1, mask, mask - 1, mask >> 1, mask>>1 + 1}[r.IntN(6)] & mask
	case 1:
		return r.Uint64() & mask & (1<<r.IntN(64) - 1)
	}
	return r.Uint64() & mask
}

func (r randomRows) integer(c *change.Column) cellValue {
	size := map[change.Type]int{change.TinyInt: 1, change.SmallInt: 2, change.MediumInt: 3, change.Int: 4, change.BigInt: 8}[c.Type]
	n := r.edge(8 * size)
	image := binary.LittleEndian.AppendUint64(nil, n)[:size]
	if c.Unsigned {
		text := strconv.FormatUint(n, 10)
		if r.IntN(4) == 0 { // ZEROFILL
			text = strings.Repeat("0", r.IntN(10)) + text
		}
		return cellValue{change.UintValue(n), image, []byte(text)}
	}
	signed := int64(n) << (64 - 8*size) >> (64 - 8*size)
	return cellValue{change.IntValue(signed), image, strconv.AppendInt(nil, signed, 10)}
}

func (r randomRows) float(c *change.Column) cellValue {
	if c.Type == change.Float {
		f := math.Float32frombits(uint32(r.edge(32)))
		if f != f || math.IsInf(float64(f), 0) {
			f = float32(math.Copysign(0, -1))
		}
		return cellValue{change.Float32Value(f), binary.LittleEndian.AppendUint32(nil, math.Float32bits(f)), doubleText(float64(f))}
	}
	f := math.Float64frombits(r.edge(64))
	if f != f || math.IsInf(f, 0) {
		f = math.Copysign(0, -1)
	}
	return cellValue{change.Float64Value(f), binary.LittleEndian.AppendUint64(nil, math.Float64bits(f)), doubleText(f)}
}

// doubleText is near what MySQL prints: shortest, with an exponent for large and small numbers.
func doubleText(f float64) []byte {
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a >= 1e15 || a < 1e-5) {
		format = 'e'
	}
	return []byte(strings.Replace(strconv.FormatFloat(f, format, -1, 64), "e+", "e", 1))
}

// decimal packs digits as the server's decimal2bin does, from the text.
func (r randomRows) decimal(c *change.Column) cellValue {
	digits := make([]byte, c.Precision)
	fill := r.IntN(c.Precision + 1)
	for i := range digits {
		digits[i] = '0'
		if i >= fill {
			digits[i] = byte('0' + r.IntN(10))
			if r.IntN(3) == 0 {
				digits[i] = '9'
			}
		}
	}
	whole := c.Precision - c.Scale
	text := strings.TrimLeft(string(digits[:whole]), "0")
	if text == "" {
		text = "0"
	}
	if c.Scale > 0 {
		text += "." + string(digits[whole:])
	}
	negative := r.IntN(2) == 0 && strings.Trim(string(digits), "0") != ""
	if negative {
		text = "-" + text
	}
	protocol := text
	if !negative && r.IntN(4) == 0 {
		protocol = strings.Repeat("0", r.IntN(5)) + text
	}
	return cellValue{change.StringValue(text), packDecimal(string(digits[:whole]), string(digits[whole:]), negative), []byte(protocol)}
}

func packDecimal(whole, fraction string, negative bool) []byte {
	var b []byte
	group := func(digits string) {
		n, _ := strconv.Atoi("0" + digits)
		size := (len(digits) + 1) / 2
		if len(digits) == 9 {
			size = 4
		}
		b = append(b, binary.BigEndian.AppendUint32(nil, uint32(n))[4-size:]...)
	}
	first := len(whole) % 9
	group(whole[:first])
	for i := first; i < len(whole); i += 9 {
		group(whole[i : i+9])
	}
	for ; len(fraction) >= 9; fraction = fraction[9:] {
		group(fraction[:9])
	}
	group(fraction)
	for i := range b {
		if negative {
			b[i] ^= 0xff
		}
	}
	b[0] ^= 0x80
	return b
}

func (r randomRows) enum(c *change.Column) cellValue {
	n := r.IntN(len(c.Elements) + 1)
	image := []byte{byte(n)}
	if len(c.Elements) > 255 {
		image = []byte{byte(n), byte(n >> 8)}
	}
	name := ""
	if n > 0 {
		name = c.Elements[n-1]
	}
	return cellValue{change.StringValue(name), image, native(c, name)}
}

func native(c *change.Column, utf string) []byte {
	cs, _ := charset.Lookup(c.Charset)
	b, err := cs.AppendNative([]byte{}, []byte(utf))
	if err != nil {
		panic(fmt.Sprintf("%q in %s: %v", utf, c.Charset, err))
	}
	return b
}

func (r randomRows) set(c *change.Column) cellValue {
	bits := r.edge(len(c.Elements))
	if r.IntN(2) == 0 {
		bits &= r.Uint64() & r.Uint64()
	}
	var names []string
	for i, name := range c.Elements {
		if bits>>i&1 == 1 {
			names = append(names, name)
		}
	}
	size := (len(c.Elements) + 7) / 8
	if size > 4 {
		size = 8
	}
	text := strings.Join(names, ",")
	return cellValue{change.StringValue(text), binary.LittleEndian.AppendUint64(nil, bits)[:size], native(c, text)}
}

// json makes binary JSON of one scalar; the printing itself is rowimage's and proven there and on real servers.
func (r randomRows) json() cellValue {
	var image []byte
	switch r.IntN(3) {
	case 0:
		image = []byte{4, byte(r.IntN(3))} // null, true, false
	case 1:
		image = binary.LittleEndian.AppendUint64([]byte{9}, r.edge(64)) // a 64-bit integer
	default:
		_, text := r.chars("utf8mb4", r.IntN(40))
		image = append(lengthOf([]byte{12}, len(text)), text...)
	}
	text, err := rowimage.AppendJSON([]byte{}, image)
	if err != nil {
		panic(err)
	}
	return cellValue{change.StringValue(string(text)), image, text}
}

func lengthOf(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(n)) }

func (r randomRows) geometry(c *change.Column) cellValue {
	if r.IntN(10) == 0 {
		return cellValue{change.RawValue([]byte{}), []byte{}, []byte{}}
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(r.edge(32)))
	if c.Geometry == "point" {
		b = append(b, 1, 1, 0, 0, 0)
		b = append(b, r.bytes(16)...)
	} else {
		b = append(b, r.bytes(5+r.IntN(100))...)
	}
	return cellValue{change.RawValue(b), b, b}
}

func (r randomRows) temporal(c *change.Column) cellValue {
	unit := int(math.Pow10(6 - c.Scale))
	micros := r.IntN(1_000_000) / unit * unit
	year, month, day := r.date()
	hour, minute, second := r.IntN(24), r.IntN(60), r.IntN(60)
	fraction := ""
	if c.Scale > 0 {
		fraction = fmt.Sprintf(".%06d", micros)[:1+c.Scale]
	}
	date := fmt.Sprintf("%04d-%02d-%02d", year, month, day)
	switch c.Type {
	case change.Year:
		n := r.IntN(256)
		if n == 0 {
			return cellValue{change.IntValue(0), []byte{0}, []byte("0000")}
		}
		return cellValue{change.IntValue(int64(1900 + n)), []byte{byte(n)}, strconv.AppendInt(nil, int64(1900+n), 10)}
	case change.Date:
		n := year<<9 | month<<5 | day
		return sameText(date, []byte{byte(n), byte(n >> 8), byte(n >> 16)})
	case change.Time:
		return r.time(c, micros)
	case change.DateTime:
		packed := uint64((year*13+month)<<5|day)<<17 | uint64(hour<<12|minute<<6|second) | 0x8000000000
		image := binary.BigEndian.AppendUint64(nil, packed)[3:]
		return sameText(fmt.Sprintf("%s %02d:%02d:%02d%s", date, hour, minute, second, fraction), append(image, packFraction(micros, c.Scale)...))
	}
	return r.timestamp(c, micros, fraction)
}

func sameText(text string, image []byte) cellValue {
	return cellValue{change.StringValue(text), image, []byte(text)}
}

func packFraction(micros, fsp int) []byte {
	switch (fsp + 1) / 2 {
	case 1:
		return []byte{byte(micros / 10_000)}
	case 2:
		return binary.BigEndian.AppendUint16(nil, uint16(micros/100))
	case 3:
		return binary.BigEndian.AppendUint32(nil, uint32(micros))[1:]
	}
	return nil
}

// date is real, zero, partly zero, or past its month's end.
func (r randomRows) date() (year, month, day int) {
	switch r.IntN(8) {
	case 0:
		return 0, 0, 0
	case 1:
		return r.IntN(10_000), r.IntN(13), r.IntN(32)
	case 2:
		return []int{0, 1, 4, 100, 400, 1969, 1970, 2000, 9999}[r.IntN(9)], []int{1, 2, 12}[r.IntN(3)], []int{1, 28, 29, 31}[r.IntN(4)]
	}
	return r.IntN(10_000), 1 + r.IntN(12), 1 + r.IntN(31)
}

func (r randomRows) time(c *change.Column, micros int) cellValue {
	hours, minute, second := r.IntN(839), r.IntN(60), r.IntN(60)
	negative := r.IntN(2) == 0
	packed := int64(hours<<12|minute<<6|second)<<24 | int64(micros)
	fraction, sign := "", ""
	if c.Scale > 0 {
		fraction = fmt.Sprintf(".%06d", micros)[:1+c.Scale]
	}
	if negative && packed != 0 {
		packed, sign = -packed, "-"
	}
	text := fmt.Sprintf("%s%02d:%02d:%02d%s", sign, hours, minute, second, fraction)
	return sameText(text, packTime(packed, c.Scale))
}

// packTime is my_time_packed_to_binary of the server's my_time.cc.
func packTime(packed int64, fsp int) []byte {
	whole, part := packed>>24, packed%(1<<24) // the whole rounds down, the part has the sign
	b := binary.BigEndian.AppendUint32(nil, uint32(whole+0x800000))[1:]
	switch (fsp + 1) / 2 {
	case 1:
		return append(b, byte(part/10_000))
	case 2:
		return append(b, byte(part/100>>8), byte(part/100))
	case 3:
		return binary.BigEndian.AppendUint64(nil, uint64(packed+0x800000000000))[2:]
	}
	return b
}

func (r randomRows) timestamp(c *change.Column, micros int, fraction string) cellValue {
	seconds := uint32(r.edge(32))
	if seconds == 0 {
		zero := "0000-00-00 00:00:00"
		if c.Scale > 0 {
			zero += "." + strings.Repeat("0", c.Scale)
		}
		return sameText(zero, make([]byte, 4+(c.Scale+1)/2))
	}
	image := append(binary.BigEndian.AppendUint32(nil, seconds), packFraction(micros, c.Scale)...)
	return sameText(unixText(seconds)+fraction, image)
}

// row makes a row in its two forms and its canonical values.
func (r randomRows) row(t *change.Table) (image, text Row, canonical []change.Value) {
	for i := range t.Columns {
		v := r.value(&t.Columns[i], t.IsKey(i))
		image.Cells = append(image.Cells, rowimage.Cell{Present: true, Null: v.text == nil, Data: v.image})
		text.Text = append(text.Text, v.text)
		canonical = append(canonical, v.canonical)
	}
	return image, text, canonical
}

func (r randomRows) options() (o schema.Options) {
	if r.IntN(2) == 0 {
		o.Decimal = schema.DecimalString
	}
	if r.IntN(2) == 0 {
		o.BigintUnsigned = schema.BigintLong
	}
	return o
}

func bigDecimal(text string) *big.Rat {
	rat, _ := new(big.Rat).SetString(text)
	return rat
}
