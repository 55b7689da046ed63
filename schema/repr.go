package schema

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// InvalidDay is where dates begin that no calendar has: see the package comment.
const InvalidDay = -1_000_000

// Repr is the form in which a column's values stand in a record.
type Repr uint8

// The forms. The comment names the Avro type.
const (
	Boolean        Repr = iota + 1 // boolean: BIT(1)
	Short                          // int, connect.type int16
	Int                            // int
	Long                           // long
	UnsignedLong                   // long: two's complement of an unsigned BIGINT
	UnsignedBytes                  // bytes: an unsigned BIGINT as a Decimal of scale 0
	Float                          // float
	Double                         // double
	DecimalBytes                   // bytes: the unscaled number, two's complement, big-endian, as few bytes as can be
	DecimalFloat64                 // double
	DecimalText                    // string
	Bits                           // bytes, little-endian
	YearInt                        // int
	Days                           // int: days since 1970
	ConnectDays                    // int: likewise, logical type date
	MicroTime                      // long: microseconds
	MilliTime                      // int: milliseconds of a day, logical type time-millis
	Millis                         // long: milliseconds since 1970
	ConnectMillis                  // long: likewise, logical type timestamp-millis
	Micros                         // long: microseconds since 1970
	Zoned                          // string: 2018-06-20T13:37:03.123456Z
	Text                           // string
	EnumName                       // string
	SetNames                       // string
	JSONText                       // string
	Bytes                          // bytes
	Geometry                       // record wkb, srid
	Point                          // record x, y, wkb, srid
	Vector                         // array of float
)

// ReprOf returns the form of the column's values under these options, or 0 when the column's type is unknown.
func ReprOf(c *change.Column, o Options) Repr {
	switch c.Type {
	case change.TinyInt, change.SmallInt, change.MediumInt, change.Int, change.BigInt:
		return integerRepr(c, o)
	case change.Decimal:
		switch o.Decimal {
		case DecimalDouble:
			return DecimalFloat64
		case DecimalString:
			return DecimalText
		}
		return DecimalBytes
	case change.Float:
		return Float
	case change.Double:
		return Double
	case change.Bit:
		if c.Length <= 1 {
			return Boolean
		}
		return Bits
	case change.Year:
		return YearInt
	case change.Date, change.Time, change.DateTime:
		return temporalRepr(c, o)
	case change.Timestamp:
		return Zoned
	case change.Enum:
		return EnumName
	case change.Set:
		return SetNames
	case change.JSON:
		return JSONText
	case change.Geometry:
		if c.Geometry == "point" {
			return Point
		}
		return Geometry
	case change.Vector:
		return Vector
	}
	switch {
	case c.Type.Character():
		return Text
	case c.Type.Opaque():
		return Bytes
	}
	return 0
}

func integerRepr(c *change.Column, o Options) Repr {
	switch c.Type {
	case change.TinyInt:
		return Short
	case change.SmallInt:
		if !c.Unsigned {
			return Short
		}
	case change.Int:
		if c.Unsigned {
			return Long
		}
	case change.BigInt:
		switch {
		case !c.Unsigned:
			return Long
		case o.BigintUnsigned == BigintLong:
			return UnsignedLong
		}
		return UnsignedBytes
	}
	return Int
}

func temporalRepr(c *change.Column, o Options) Repr {
	connect := o.TimePrecision == TimeConnect
	switch {
	case c.Type == change.Date && connect:
		return ConnectDays
	case c.Type == change.Date:
		return Days
	case c.Type == change.Time && connect:
		return MilliTime
	case c.Type == change.Time:
		return MicroTime
	case connect:
		return ConnectMillis
	case c.Scale > 3:
		return Micros
	}
	return Millis
}

// named holds the forms whose Avro type is a primitive with the name of a Connect type.
var named = map[Repr]struct{ avro, connect, logical string }{
	YearInt:       {"int", "io.debezium.time.Year", ""},
	Days:          {"int", "io.debezium.time.Date", ""},
	ConnectDays:   {"int", "org.apache.kafka.connect.data.Date", "date"},
	MicroTime:     {"long", "io.debezium.time.MicroTime", ""},
	MilliTime:     {"int", "org.apache.kafka.connect.data.Time", "time-millis"},
	Millis:        {"long", "io.debezium.time.Timestamp", ""},
	ConnectMillis: {"long", "org.apache.kafka.connect.data.Timestamp", "timestamp-millis"},
	Micros:        {"long", "io.debezium.time.MicroTimestamp", ""},
	Zoned:         {"string", "io.debezium.time.ZonedTimestamp", ""},
	JSONText:      {"string", "io.debezium.data.Json", ""},
}

// appendType appends the Avro type of a column in the given form. known holds the named records that the schema
// has defined already: the second column of type Geometry may only name it.
func appendType(b []byte, c *change.Column, r Repr, known map[string]bool) []byte {
	if n, ok := named[r]; ok {
		b = append(b, `{"type":"`+n.avro+`","connect.version":1,"connect.name":"`+n.connect+`"`...)
		if n.logical != "" {
			b = append(b, `,"logicalType":"`+n.logical+`"`...)
		}
		return append(b, '}')
	}
	switch r {
	case Boolean:
		return append(b, `"boolean"`...)
	case Short:
		return append(b, `{"type":"int","connect.type":"int16"}`...)
	case Int:
		return append(b, `"int"`...)
	case Long, UnsignedLong:
		return append(b, `"long"`...)
	case Float:
		return append(b, `"float"`...)
	case Double, DecimalFloat64:
		return append(b, `"double"`...)
	case DecimalText, Text:
		return append(b, `"string"`...)
	case Bytes:
		return append(b, `"bytes"`...)
	case UnsignedBytes:
		return appendDecimalType(b, 20, 0)
	case DecimalBytes:
		return appendDecimalType(b, c.Precision, c.Scale)
	case Bits:
		return appendParameterType(b, "bytes", "io.debezium.data.Bits", "length", strconv.Itoa(c.Length))
	case EnumName:
		return appendParameterType(b, "string", "io.debezium.data.Enum", "allowed", strings.Join(c.Elements, ","))
	case SetNames:
		return appendParameterType(b, "string", "io.debezium.data.EnumSet", "allowed", strings.Join(c.Elements, ","))
	case Geometry:
		return appendGeometryType(b, "Geometry", `{"name":"wkb","type":"bytes"}`, known)
	case Point:
		return appendGeometryType(b, "Point", `{"name":"x","type":"double"},{"name":"y","type":"double"},`+
			`{"name":"wkb","type":["null","bytes"],"default":null}`, known)
	case Vector:
		return append(b, `{"type":"array","items":"float","connect.version":1,"connect.name":"io.debezium.data.FloatVector"}`...)
	}
	panic(fmt.Sprintf("schema: no Avro type for form %d", r)) // ReprOf gives no other
}

func appendDecimalType(b []byte, precision, scale int) []byte {
	return fmt.Appendf(b, `{"type":"bytes","scale":%d,"precision":%d,"connect.version":1,`+
		`"connect.parameters":{"scale":"%d","connect.decimal.precision":"%d"},`+
		`"connect.name":"org.apache.kafka.connect.data.Decimal","logicalType":"decimal"}`, scale, precision, scale, precision)
}

func appendParameterType(b []byte, avro, connect, parameter, value string) []byte {
	b = append(b, `{"type":"`+avro+`","connect.version":1,"connect.parameters":{"`+parameter+`":`...)
	b = appendString(b, value)
	return append(b, `},"connect.name":"`+connect+`"}`...)
}

func appendGeometryType(b []byte, name, fields string, known map[string]bool) []byte {
	const namespace = "io.debezium.data.geometry"
	if known[name] {
		return append(b, `"`+namespace+`.`+name+`"`...)
	}
	known[name] = true
	return append(b, `{"type":"record","name":"`+name+`","namespace":"`+namespace+`","fields":[`+fields+
		`,{"name":"srid","type":["null","int"],"default":null}],"connect.version":1,"connect.name":"`+namespace+`.`+name+`"}`...)
}
