package rowimage

import (
	"fmt"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/charset"
	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// describer turns the wire's columns and the metadata into the columns of a change.Table. The metadata's lists
// hold entries for some columns only, so it counts how many it has taken from each.
type describer struct {
	meta   *metadata
	flavor gtid.Flavor

	character, named, enum, set, geometry, vector int
}

// describe returns the columns as INFORMATION_SCHEMA has them.
func (tm *TableMap) describe() ([]change.Column, []int, error) {
	meta, err := parseMetadata(tm.optional, len(tm.wire))
	if err != nil {
		return nil, nil, fmt.Errorf("read table map of %s: %w", tm.Name, err)
	}
	if field := meta.missing(tm.wire, tm.flavor); field != "" {
		return nil, nil, tm.notFull(field)
	}
	unsigned, err := tm.signs(meta.unsigned)
	if err != nil {
		return nil, nil, err
	}
	d := describer{meta: meta, flavor: tm.flavor}
	columns := make([]change.Column, 0, len(tm.Columns))
	places := make([]int, len(tm.wire)) // from the wire's columns to the shown ones
	for i := range tm.wire {
		w := &tm.wire[i]
		c := change.Column{Name: meta.names[i], Nullable: w.Nullable, Unsigned: unsigned[i]}
		if err := d.describe(w, &c); err != nil {
			return nil, nil, fmt.Errorf("read table map of %s: column %s (type %d): %w", tm.Name, c.Name, w.Type, err)
		}
		places[i] = len(columns)
		if !w.hidden {
			columns = append(columns, c)
		}
	}
	for i, column := range meta.primary {
		meta.primary[i] = places[column]
	}
	return columns, meta.primary, nil
}

// notFull is the error of a server that does not write FULL metadata.
func (tm *TableMap) notFull(field string) error {
	return &change.Problem{
		Kind:  change.Configuration,
		What:  "the binlog does not say what the table's columns are: binlog_row_metadata is not FULL",
		Where: tm.Name.String() + ", no " + field + " in its table map event",
		Why:   "rows can be decoded only with the columns' names, signs and character sets as they were when the rows were written",
		Mend: "SET PERSIST binlog_row_metadata = 'FULL';   (MariaDB: SET GLOBAL, and in the server's configuration file)\n" +
			"then start from a position after that, with a crawl",
		Table: tm.Name,
	}
}

// describe fills in one column.
func (d *describer) describe(w *Wire, c *change.Column) error {
	switch {
	case w.isEnumOrSet():
		return d.describeNamed(w, c)
	case w.isCharacter(d.flavor == gtid.MariaDB):
		id, ok := d.meta.collations.collation(d.character)
		if !ok {
			return fmt.Errorf("its character set is missing from the metadata")
		}
		d.character++
		if w.Type != wireGeometry && w.Type != wireVector {
			return d.describeText(w, c, id)
		}
	}
	return d.describePlain(w, c)
}

// plainTypes are the types that need no more than their number.
var plainTypes = map[byte]change.Type{
	wireTiny: change.TinyInt, wireShort: change.SmallInt, wireInt24: change.MediumInt, wireLong: change.Int,
	wireLongLong: change.BigInt, wireNewDecimal: change.Decimal, wireFloat: change.Float, wireDouble: change.Double,
	wireBit: change.Bit, wireYear: change.Year, wireDate: change.Date, wireNewDate: change.Date,
	wireTime: change.Time, wireTime2: change.Time, wireDateTime: change.DateTime, wireDateTime2: change.DateTime,
	wireTimestamp: change.Timestamp, wireTimestamp2: change.Timestamp, wireJSON: change.JSON,
	wireGeometry: change.Geometry, wireVector: change.Vector,
}

// geometryTypes are the subtypes by number.
var geometryTypes = [...]string{
	"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection",
}

func (d *describer) describePlain(w *Wire, c *change.Column) error {
	t, ok := plainTypes[w.Type]
	if !ok {
		return fmt.Errorf("type %d is not a column's", w.Type)
	}
	c.Type = t
	switch w.Type {
	case wireNewDecimal:
		c.Precision, c.Scale = int(w.Meta>>8), int(w.Meta&0xff)
	case wireTime2, wireDateTime2, wireTimestamp2:
		c.Scale = int(w.Meta)
	case wireBit:
		c.Length = int(w.Meta>>8)*8 + int(w.Meta&0xff)
	case wireVector:
		if d.vector >= len(d.meta.dimensions) {
			return fmt.Errorf("its dimensions are missing from the metadata")
		}
		c.Length = int(d.meta.dimensions[d.vector])
		d.vector++
	case wireGeometry:
		if d.geometry >= len(d.meta.geometries) || d.meta.geometries[d.geometry] >= uint64(len(geometryTypes)) {
			return fmt.Errorf("its subtype is missing from the metadata")
		}
		c.Geometry = geometryTypes[d.meta.geometries[d.geometry]]
		d.geometry++
	}
	return nil
}

// blobTypes and textTypes are the types by the length of their length.
var (
	blobTypes = [...]change.Type{1: change.TinyBlob, 2: change.Blob, 3: change.MediumBlob, 4: change.LongBlob}
	textTypes = [...]change.Type{1: change.TinyText, 2: change.Text, 3: change.MediumText, 4: change.LongText}
)

// describeText fills in CHAR to LONGTEXT and, where the character set is binary, BINARY to LONGBLOB.
func (d *describer) describeText(w *Wire, c *change.Column, collationID uint32) error {
	set, err := d.setCollation(c, collationID)
	if err != nil {
		return err
	}
	binary := c.Charset == "binary"
	isBlob := w.Type == wireBlob || w.Type == wireBlobCompressed
	switch {
	case isBlob && binary:
		c.Type = blobTypes[w.Meta]
	case isBlob:
		c.Type = textTypes[w.Meta]
	default:
		length := int(w.Meta)
		if w.Type == wireVarcharCompressed { // a byte more, for the header
			length--
		}
		c.Length = length / set.MaxLen()
		c.Type = textType(w.Type == wireString, binary)
	}
	dropBinary(c)
	return nil
}

func textType(fixed, binary bool) change.Type {
	switch {
	case fixed && binary:
		return change.Binary
	case fixed:
		return change.Char
	case binary:
		return change.VarBinary
	}
	return change.VarChar
}

func (d *describer) setCollation(c *change.Column, id uint32) (*charset.Charset, error) {
	collation, name, ok := charset.CollationByID(d.flavor, id)
	if !ok {
		return nil, fmt.Errorf("collation number %d of %s is not known", id, d.flavor)
	}
	set, ok := charset.Lookup(name)
	if !ok {
		return nil, fmt.Errorf("character set %s is not known", name)
	}
	c.Charset, c.Collation = name, collation
	return set, nil
}

// describeNamed fills in ENUM and SET.
func (d *describer) describeNamed(w *Wire, c *change.Column) error {
	id, ok := d.meta.namedCollations.collation(d.named)
	if !ok {
		return fmt.Errorf("its character set is missing from the metadata")
	}
	d.named++
	lists, nth := d.meta.enums, &d.enum
	c.Type = change.Enum
	if w.Type == wireSet {
		lists, nth = d.meta.sets, &d.set
		c.Type = change.Set
	}
	if *nth >= len(lists) {
		return fmt.Errorf("its names are missing from the metadata")
	}
	names := lists[*nth]
	*nth++
	set, err := d.setCollation(c, id)
	if err != nil {
		return err
	}
	c.Elements = make([]string, len(names))
	for i, name := range names {
		text, err := set.AppendUTF8(nil, name)
		if err != nil {
			return fmt.Errorf("name %d: %w", i+1, err)
		}
		c.Elements[i] = string(text)
	}
	if d.flavor == gtid.MySQL { // INFORMATION_SCHEMA of MariaDB names binary for ENUM and SET, that of MySQL does not
		dropBinary(c)
	}
	return nil
}

// dropBinary takes the character set away where it is binary, as INFORMATION_SCHEMA does.
func dropBinary(c *change.Column) {
	if c.Charset == "binary" {
		c.Charset, c.Collation = "", ""
	}
}
