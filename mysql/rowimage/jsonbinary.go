package rowimage

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Binary JSON (sql-common/json_binary.h of the server): a type byte and a value. An object or array is: the
// number of elements, its size in bytes, for an object an entry for each key (offset, length of 2 bytes), an
// entry for each value (type byte, and an offset or, for small values, the value itself), then the keys and
// values. Offsets count from the container's begin. All numbers are little-endian, of 2 bytes in a small
// container and 4 in a large one.
const (
	jsonSmallObject = 0x00
	jsonLargeObject = 0x01
	jsonSmallArray  = 0x02
	jsonLargeArray  = 0x03
	jsonLiteral     = 0x04
	jsonInt16       = 0x05
	jsonUint16      = 0x06
	jsonInt32       = 0x07
	jsonUint32      = 0x08
	jsonInt64       = 0x09
	jsonUint64      = 0x0a
	jsonDouble      = 0x0b
	jsonString      = 0x0c
	jsonOpaque      = 0x0f

	jsonNull  = 0x00
	jsonTrue  = 0x01
	jsonFalse = 0x02
)

// jsonDepthMax is the server's limit on nested containers.
const jsonDepthMax = 100

var errJSON = errors.New("broken binary JSON")

// jsonNullDocument is what an empty document means: INSERT IGNORE leaves one in a NOT NULL column.
var jsonNullDocument = []byte{jsonLiteral, jsonNull}

// jsonReader reads one document. No two of its values may share bytes, so whoever reads each value once reads
// no more than there is; budget holds broken documents, whose offsets meet, to that.
type jsonReader struct{ budget int }

func (r *jsonReader) spend(n int) error {
	if r.budget -= n; r.budget < 0 {
		return fmt.Errorf("%w: values overlap", errJSON)
	}
	return nil
}

// jsonContainer is an object or array with its entries not read yet.
type jsonContainer struct {
	data    []byte // from the container's begin to its end
	count   int
	object  bool
	wide    int // bytes of a number: 2 or 4
	keysAt  int
	valueAt int
}

func isJSONContainer(kind byte) bool { return kind <= jsonLargeArray }

// container reads the head of a container.
func (r *jsonReader) container(kind byte, data []byte) (c jsonContainer, err error) {
	c = jsonContainer{object: kind == jsonSmallObject || kind == jsonLargeObject, wide: 2}
	if kind == jsonLargeObject || kind == jsonLargeArray {
		c.wide = 4
	}
	if len(data) < 2*c.wide {
		return c, fmt.Errorf("%w: container: %w", errJSON, errShort)
	}
	count, size := littleEndian(data[:c.wide]), littleEndian(data[c.wide:2*c.wide])
	entries := count * uint64(1+c.wide)
	c.keysAt = 2 * c.wide
	if c.object {
		entries += count * uint64(c.wide+2)
	}
	if size > uint64(len(data)) || entries+uint64(c.keysAt) > size {
		return c, fmt.Errorf("%w: container of %d elements and %d bytes in %d bytes", errJSON, count, size, len(data))
	}
	c.count, c.data = int(count), data[:size]
	c.valueAt = c.keysAt
	if c.object {
		c.valueAt += c.count * (c.wide + 2)
	}
	return c, r.spend(c.keysAt + int(entries))
}

// key gives the name of an object's element.
func (r *jsonReader) key(c *jsonContainer, i int) ([]byte, error) {
	entry := c.data[c.keysAt+i*(c.wide+2):]
	offset := littleEndian(entry[:c.wide])
	length := uint64(binary.LittleEndian.Uint16(entry[c.wide:]))
	if offset+length > uint64(len(c.data)) {
		return nil, fmt.Errorf("%w: key: %w", errJSON, errShort)
	}
	return c.data[offset : offset+length], r.spend(int(length))
}

// element gives an element's type and the bytes that begin with its value.
func (c *jsonContainer) element(i int) (kind byte, data []byte, err error) {
	entry := c.data[c.valueAt+i*(c.wide+1):][:c.wide+1]
	kind = entry[0]
	if isJSONInline(kind, c.wide) {
		return kind, entry[1:], nil
	}
	offset := littleEndian(entry[1:])
	if offset < uint64(c.valueAt) || offset > uint64(len(c.data)) {
		return 0, nil, fmt.Errorf("%w: value: %w", errJSON, errShort)
	}
	return kind, c.data[offset:], nil
}

// isJSONInline says whether a container with numbers of that width holds the value in its entry.
func isJSONInline(kind byte, wide int) bool {
	switch kind {
	case jsonLiteral, jsonInt16, jsonUint16:
		return true
	case jsonInt32, jsonUint32:
		return wide == 4
	}
	return false
}

// jsonNumberSizes are the bytes of the kinds that have a fixed length.
var jsonNumberSizes = [...]int{
	jsonLiteral: 1, jsonInt16: 2, jsonUint16: 2, jsonInt32: 4, jsonUint32: 4, jsonInt64: 8, jsonUint64: 8, jsonDouble: 8,
}

// scalar cuts a value that is no container to its length. For a string it is the text, for an opaque value
// the content; field is the opaque value's column type.
func (r *jsonReader) scalar(kind byte, data []byte) (value []byte, field byte, err error) {
	switch {
	case kind >= jsonLiteral && kind <= jsonDouble:
		size := jsonNumberSizes[kind]
		if len(data) < size {
			return nil, 0, fmt.Errorf("%w: number: %w", errJSON, errShort)
		}
		return data[:size], 0, nil // its container's entry was paid for, and that is as much as a number counts
	case kind == jsonOpaque:
		if len(data) < 1 {
			return nil, 0, fmt.Errorf("%w: opaque value: %w", errJSON, errShort)
		}
		field, data = data[0], data[1:]
	case kind != jsonString:
		return nil, 0, fmt.Errorf("%w: type %d is not known", errJSON, kind)
	}
	length, n := binary.Uvarint(data[:min(len(data), 5)]) // the server's form is this one, up to 32 bits
	if n <= 0 || length > uint64(len(data)-n) {
		return nil, 0, fmt.Errorf("%w: text: %w", errJSON, errShort)
	}
	return data[n : n+int(length)], field, r.spend(int(length))
}
