package rowimage

import (
	"fmt"

	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// The fields of the optional metadata (Table_map_log_event in the server's libbinlogevents).
const (
	metaSignedness              = 1
	metaDefaultCharset          = 2
	metaColumnCharset           = 3
	metaColumnName              = 4
	metaSetStrValue             = 5
	metaEnumStrValue            = 6
	metaGeometryType            = 7
	metaSimplePrimaryKey        = 8
	metaPrimaryKeyWithPrefix    = 9
	metaEnumSetDefaultCharset   = 10
	metaEnumSetColumnCharset    = 11
	metaColumnVisibility        = 12
	metaVectorDimensionality    = 13
	metaCharacterSetOfColumnMax = 1 << 16 // collation ids are 16 bits everywhere
)

// metadata is the optional metadata, each list in the order of the columns that it is about.
type metadata struct {
	unsigned        []byte      // bitmap of the numeric columns, the highest bit first
	collations      charsetList // of the character columns
	namedCollations charsetList // of the ENUM and SET columns
	names           []string    // of all columns
	enums, sets     [][][]byte  // the names of each ENUM's and SET's values, in the column's charset
	geometries      []uint64
	dimensions      []uint64
	primary         []int // column indexes; a prefix's length is of no use here
}

// charsetList says which collation each of a group of columns has: either a default and the exceptions, or
// all of them.
type charsetList struct {
	known      bool
	fallback   uint64
	exceptions map[uint64]uint64 // by the column's place in the group
	each       []uint64
}

// collation returns the id of the column that is nth in the group.
func (l *charsetList) collation(nth int) (uint32, bool) {
	if !l.known {
		return 0, false
	}
	id := l.fallback
	if l.each != nil {
		if nth >= len(l.each) {
			return 0, false
		}
		id = l.each[nth]
	} else if other, ok := l.exceptions[uint64(nth)]; ok {
		id = other
	}
	return uint32(id), id < metaCharacterSetOfColumnMax
}

// parseMetadata reads the optional metadata: fields of a type byte, a length and so many bytes.
func parseMetadata(data []byte, columns int) (*metadata, error) {
	m := &metadata{}
	r := reader{b: data}
	for len(r.b) > 0 {
		field := r.uint8()
		value := reader{b: r.take(r.packed())}
		if err := r.err(); err != nil {
			return nil, fmt.Errorf("optional metadata: field %d: %w", field, err)
		}
		if err := m.parseField(field, &value, columns); err != nil {
			return nil, fmt.Errorf("optional metadata: field %d: %w", field, err)
		}
	}
	return m, nil
}

func (m *metadata) parseField(field byte, r *reader, columns int) error {
	switch field {
	case metaSignedness:
		m.unsigned = r.b
	case metaDefaultCharset:
		m.collations.readDefault(r)
	case metaColumnCharset:
		m.collations = charsetList{known: true, each: readPackedList(r)}
	case metaEnumSetDefaultCharset:
		m.namedCollations.readDefault(r)
	case metaEnumSetColumnCharset:
		m.namedCollations = charsetList{known: true, each: readPackedList(r)}
	case metaColumnName:
		for len(r.b) > 0 {
			m.names = append(m.names, string(r.take(r.packed())))
		}
	case metaSetStrValue:
		m.sets = readNames(r)
	case metaEnumStrValue:
		m.enums = readNames(r)
	case metaGeometryType:
		m.geometries = readPackedList(r)
	case metaVectorDimensionality:
		m.dimensions = readPackedList(r)
	case metaSimplePrimaryKey, metaPrimaryKeyWithPrefix:
		for len(r.b) > 0 {
			column := r.packed()
			if field == metaPrimaryKeyWithPrefix {
				r.packed()
			}
			if column >= uint64(columns) {
				return fmt.Errorf("primary key: column %d of %d", column+1, columns)
			}
			m.primary = append(m.primary, int(column))
		}
	}
	// Visibility is of no use here, and fields that are not known yet are for later servers' readers.
	return r.err()
}

// readDefault reads the default collation and pairs of a column's place and its collation.
func (l *charsetList) readDefault(r *reader) {
	*l = charsetList{known: true, fallback: r.packed(), exceptions: map[uint64]uint64{}}
	for len(r.b) > 0 {
		nth := r.packed()
		l.exceptions[nth] = r.packed()
	}
}

func readPackedList(r *reader) []uint64 {
	list := []uint64{}
	for len(r.b) > 0 {
		list = append(list, r.packed())
	}
	return list
}

// readNames reads, for each column, how many names there are and the names.
func readNames(r *reader) [][][]byte {
	var columns [][][]byte
	for len(r.b) > 0 {
		var names [][]byte
		for count := r.packed(); count > 0 && !r.fail; count-- {
			names = append(names, r.take(r.packed()))
		}
		columns = append(columns, names)
	}
	return columns
}

// missing says which field FULL metadata would have brought, or "".
func (m *metadata) missing(columns []Wire, flavor gtid.Flavor) string {
	var character, enumOrSet bool
	for i := range columns {
		character = character || columns[i].isCharacter(flavor == gtid.MariaDB)
		enumOrSet = enumOrSet || columns[i].isEnumOrSet()
	}
	switch {
	case len(m.names) != len(columns):
		return "column names"
	case character && !m.collations.known:
		return "character sets"
	case enumOrSet && (!m.namedCollations.known || len(m.enums)+len(m.sets) == 0):
		return "names of ENUM and SET values"
	}
	return ""
}
