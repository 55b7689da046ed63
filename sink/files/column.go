package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"github.com/sluice-cdc/sluice/change"
)

// form is how values of a column stand in a file: as which of Parquet's types, and how there and back.
type form struct {
	node parquet.Node
	put  func(v change.Value) (parquet.Value, error) // not of NULL
	take func(v parquet.Value) change.Value          // not of NULL; what it returns may alias v
}

// formOf returns the form of a column. Nothing is bent: what the type cannot say is an error of put.
func formOf(c *change.Column, dates string) form {
	switch {
	case c.Type.Integer() || c.Type == change.Year:
		return integerForm(c)
	case c.Type == change.Decimal:
		return decimalForm(c)
	case c.Type.Opaque() || c.Type == change.Geometry || c.Type == change.Vector:
		return form{parquet.Leaf(parquet.ByteArrayType), putBytes, func(v parquet.Value) change.Value { return change.RawValue(v.ByteArray()) }}
	case dates == Date && (c.Type == change.Date || c.Type == change.DateTime || c.Type == change.Timestamp):
		return dateForm(c)
	}
	switch c.Type {
	case change.Float:
		return form{parquet.Leaf(parquet.FloatType),
			func(v change.Value) (parquet.Value, error) { return parquet.FloatValue(float32(v.Float())), nil },
			func(v parquet.Value) change.Value { return change.Float32Value(v.Float()) }}
	case change.Double:
		return form{parquet.Leaf(parquet.DoubleType),
			func(v change.Value) (parquet.Value, error) { return parquet.DoubleValue(v.Float()), nil },
			func(v parquet.Value) change.Value { return change.Float64Value(v.Double()) }}
	case change.Bit:
		return bitForm(c)
	case change.Time:
		return timeForm(c)
	}
	return textForm() // JSON too: ClickHouse would make its own JSON of Parquet's, which holds objects only
}

func putBytes(v change.Value) (parquet.Value, error) { return parquet.ByteArrayValue(v.Bytes), nil }

var errNotUTF8 = errors.New("the text is not UTF-8")

func textForm() form {
	return form{parquet.String(), func(v change.Value) (parquet.Value, error) {
		if !utf8.Valid(v.Bytes) {
			return parquet.Value{}, errNotUTF8
		}
		return parquet.ByteArrayValue(v.Bytes), nil
	}, func(v parquet.Value) change.Value { return change.Value{Kind: change.Str, Bytes: v.ByteArray()} }}
}

// integerBits are the widths of Parquet's integers that hold MySQL's.
var integerBits = map[change.Type]int{change.TinyInt: 8, change.SmallInt: 16, change.MediumInt: 32, change.Int: 32, change.BigInt: 64, change.Year: 16}

func integerForm(c *change.Column) form {
	bits := integerBits[c.Type]
	f := form{node: parquet.Int(bits), take: func(v parquet.Value) change.Value { return change.IntValue(v.Int64()) }}
	f.put = func(v change.Value) (parquet.Value, error) { return parquet.Int64Value(v.Int()), nil }
	if bits < 64 {
		f.put = func(v change.Value) (parquet.Value, error) { return parquet.Int32Value(int32(v.Int())), nil }
		f.take = func(v parquet.Value) change.Value { return change.IntValue(int64(v.Int32())) }
	}
	if !c.Unsigned || c.Type == change.Year {
		return f
	}
	f.node = parquet.Uint(bits)
	f.take = func(v parquet.Value) change.Value { return change.UintValue(v.Uint64()) }
	if bits < 64 {
		f.take = func(v parquet.Value) change.Value { return change.UintValue(uint64(v.Uint32())) }
	}
	return f
}

// The largest precisions that Parquet's decimals have in 4, 8 and 16 bytes. Readers know no more digits than those of the last.
const (
	decimal32Max  = 9
	decimal64Max  = 18
	decimal128Max = 38
	decimalBytes  = 16
)

// decimalForm gives a DECIMAL of more than 38 digits as text: no reader has a type that holds it.
func decimalForm(c *change.Column) form {
	scale := c.Scale
	switch {
	case c.Precision > decimal128Max:
		return textForm()
	case c.Precision > decimal64Max:
		return form{parquet.Decimal(scale, c.Precision, parquet.FixedLenByteArrayType(decimalBytes)),
			func(v change.Value) (parquet.Value, error) {
				n, ok := new(big.Int).SetString(digits(v), 10)
				if !ok || n.BitLen() >= 8*decimalBytes {
					return parquet.Value{}, fmt.Errorf("%q is no decimal", v)
				}
				if n.Sign() < 0 {
					n.Add(n, new(big.Int).Lsh(big.NewInt(1), 8*decimalBytes))
				}
				return parquet.FixedLenByteArrayValue(n.FillBytes(make([]byte, decimalBytes))), nil
			},
			func(v parquet.Value) change.Value {
				b := v.ByteArray()
				n := new(big.Int).SetBytes(b)
				if len(b) > 0 && b[0] >= 0x80 {
					n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
				}
				return decimalText(n.String(), scale)
			}}
	case c.Precision > decimal32Max:
		return form{parquet.Decimal(scale, c.Precision, parquet.Int64Type),
			func(v change.Value) (parquet.Value, error) {
				n, err := strconv.ParseInt(digits(v), 10, 64)
				return parquet.Int64Value(n), err
			},
			func(v parquet.Value) change.Value { return decimalText(strconv.FormatInt(v.Int64(), 10), scale) }}
	}
	return form{parquet.Decimal(scale, c.Precision, parquet.Int32Type),
		func(v change.Value) (parquet.Value, error) {
			n, err := strconv.ParseInt(digits(v), 10, 32)
			return parquet.Int32Value(int32(n)), err
		},
		func(v parquet.Value) change.Value { return decimalText(strconv.FormatInt(int64(v.Int32()), 10), scale) }}
}

// digits returns a decimal's digits without the point: it always has as many after it as the column's scale says.
func digits(v change.Value) string { return strings.Replace(string(v.Bytes), ".", "", 1) }

// decimalText puts the point back.
func decimalText(n string, scale int) change.Value {
	sign := ""
	if n[0] == '-' {
		sign, n = "-", n[1:]
	}
	if short := scale + 1 - len(n); short > 0 {
		n = strings.Repeat("0", short) + n
	}
	if scale == 0 {
		return change.StringValue(sign + n)
	}
	at := len(n) - scale
	return change.StringValue(sign + n[:at] + "." + n[at:])
}

// bitForm gives BIT as an unsigned number.
func bitForm(c *change.Column) form {
	length := (c.Length + 7) / 8
	return form{parquet.Uint(64),
		func(v change.Value) (parquet.Value, error) {
			n := uint64(0)
			for _, b := range v.Bytes {
				n = n<<8 | uint64(b)
			}
			return parquet.Int64Value(int64(n)), nil
		},
		func(v parquet.Value) change.Value {
			return change.RawValue(binary.BigEndian.AppendUint64(nil, v.Uint64())[8-length:])
		}}
}

const (
	dayLayout    = "2006-01-02"
	momentLayout = "2006-01-02 15:04:05"
	daySeconds   = 86400
)

var errNoDate = errors.New("no date of Parquet has a zero in month or day")

// dateForm gives DATE as days, DATETIME and TIMESTAMP as microseconds since 1970; only TIMESTAMP is a moment (UTC).
func dateForm(c *change.Column) form {
	if c.Type == change.Date {
		return form{parquet.Date(),
			func(v change.Value) (parquet.Value, error) {
				t, err := parseMoment(dayLayout, string(v.Bytes))
				return parquet.Int32Value(int32(floor(t.Unix(), daySeconds))), err
			},
			func(v parquet.Value) change.Value {
				return change.StringValue(formatDay(time.Unix(int64(v.Int32())*daySeconds, 0)))
			}}
	}
	scale := c.Scale
	return form{parquet.TimestampAdjusted(parquet.Microsecond, c.Type == change.Timestamp),
		func(v change.Value) (parquet.Value, error) {
			t, err := parseMoment(momentLayout, string(v.Bytes))
			return parquet.Int64Value(t.UnixMicro()), err
		},
		func(v parquet.Value) change.Value {
			t := time.UnixMicro(v.Int64()).UTC()
			return change.StringValue(formatDay(t) + t.Format(" 15:04:05") + fraction(int64(t.Nanosecond()/1000), scale))
		}}
}

func formatDay(t time.Time) string {
	year, month, day := t.UTC().Date()
	return fmt.Sprintf("%04d-%02d-%02d", year, month, day)
}

func floor(n, by int64) int64 {
	if n < 0 {
		return -((-n + by - 1) / by)
	}
	return n / by
}

// parseMoment reads a day or a moment; layouts take fractions of a second where the text has them.
func parseMoment(layout, text string) (time.Time, error) {
	t, err := time.ParseInLocation(layout, text, time.UTC)
	if err == nil {
		return t, nil
	}
	if len(text) >= len(dayLayout) && (text[5:7] == "00" || text[8:10] == "00") {
		return t, fmt.Errorf("%q: %w", text, errNoDate)
	}
	return t, err
}

// fraction returns microseconds with so many digits, and the point before them.
func fraction(micros int64, scale int) string {
	if scale == 0 {
		return ""
	}
	return fmt.Sprintf(".%06d", micros)[:scale+1]
}

// timeForm gives TIME as microseconds: MySQL's goes from -838 to 838 hours, Parquet's own from 0 to 24.
func timeForm(c *change.Column) form {
	scale := c.Scale
	return form{parquet.Int(64),
		func(v change.Value) (parquet.Value, error) {
			n, err := parseTime(string(v.Bytes))
			return parquet.Int64Value(n), err
		},
		func(v parquet.Value) change.Value {
			n, sign := v.Int64(), ""
			if n < 0 {
				n, sign = -n, "-"
			}
			seconds := n / 1e6
			return change.StringValue(fmt.Sprintf("%s%02d:%02d:%02d%s", sign, seconds/3600, seconds/60%60, seconds%60, fraction(n%1e6, scale)))
		}}
}

func parseTime(text string) (micros int64, err error) {
	rest, negative := strings.CutPrefix(text, "-")
	clock, part, _ := strings.Cut(rest, ".")
	parts := strings.Split(clock, ":")
	if len(parts) != 3 || len(part) > 6 {
		return 0, fmt.Errorf("%q is no time", text)
	}
	for _, p := range append(parts, (part + "000000")[:6]) {
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("%q is no time", text)
		}
		unit := int64(60)
		if len(p) == 6 {
			unit = 1e6
		}
		micros = micros*unit + int64(n)
	}
	if negative {
		micros = -micros
	}
	if micros > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q is no time", text)
	}
	return micros, nil
}
