package rowimage

// The column types as TABLE_MAP numbers them (include/field_types.h of the server). MariaDB's COMPRESSED
// columns have numbers of their own.
const (
	wireDecimal           = 0 // before MySQL 5.0: its length is nowhere in the event
	wireTiny              = 1
	wireShort             = 2
	wireLong              = 3
	wireFloat             = 4
	wireDouble            = 5
	wireNull              = 6
	wireTimestamp         = 7
	wireLongLong          = 8
	wireInt24             = 9
	wireDate              = 10
	wireTime              = 11
	wireDateTime          = 12
	wireYear              = 13
	wireNewDate           = 14
	wireVarchar           = 15
	wireBit               = 16
	wireTimestamp2        = 17
	wireDateTime2         = 18
	wireTime2             = 19
	wireTypedArray        = 20
	wireBlobCompressed    = 140
	wireVarcharCompressed = 141
	wireVector            = 242
	wireJSON              = 245
	wireNewDecimal        = 246
	wireEnum              = 247
	wireSet               = 248
	wireTinyBlob          = 249
	wireMediumBlob        = 250
	wireLongBlob          = 251
	wireBlob              = 252
	wireVarString         = 253
	wireString            = 254
	wireGeometry          = 255
)

// Wire is a column as the row images are laid out: what TABLE_MAP says even without full metadata.
type Wire struct {
	// Type is the server's number for the column's real type: ENUM and SET, which TABLE_MAP hides behind
	// STRING, have their own here.
	Type byte
	// Meta is the type's extra word: the length in bytes of CHAR, VARCHAR, BINARY and VARBINARY, of the length
	// prefix of blobs and JSON, of an ENUM's or SET's value; the fractional digits of times; precision<<8 | scale
	// of DECIMAL; bytes<<8 | bits of BIT.
	Meta     uint16
	Nullable bool

	fixed  int32 // bytes a value takes, when prefix is 0
	prefix uint8 // bytes of the length that stands before a value; 0: the length is fixed
	rework bool  // the bytes are of an old or compressed form, which Image turns into the usual one
	plain  bool  // the length is fixed and the form is the usual one
	hidden bool  // a column of the server's own, which no SELECT shows: see hideColumns
}

// isNumeric says whether the column has a bit in the SIGNEDNESS metadata. For YEAR that depends on the
// server's version: see signs.
func (w *Wire) isNumeric() bool {
	switch w.Type {
	case wireTiny, wireShort, wireInt24, wireLong, wireLongLong, wireDecimal, wireNewDecimal, wireFloat, wireDouble:
		return true
	}
	return false
}

// isCharacter says whether the column has an entry in the charset metadata. VECTOR is a blob there and counts
// (seen on 9.7.4); so does GEOMETRY in MariaDB, but not in MySQL.
func (w *Wire) isCharacter(mariaDB bool) bool {
	switch w.Type {
	case wireString, wireVarString, wireVarchar, wireBlob, wireVector, wireBlobCompressed, wireVarcharCompressed:
		return true
	case wireGeometry:
		return mariaDB
	}
	return false
}

func (w *Wire) isEnumOrSet() bool { return w.Type == wireEnum || w.Type == wireSet }
