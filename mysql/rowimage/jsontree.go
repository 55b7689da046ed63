package rowimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// jsonNode is a value of a document that is being changed.
type jsonNode struct {
	kind byte // a container's is that of the small one until it is measured
	// value is a scalar's bytes as they are written: a string's and opaque value's with their length.
	value    []byte
	names    [][]byte // of an object, in the server's order: the shorter first, then by bytes
	elements []*jsonNode

	size int // bytes without the type byte; set by measure
}

// parseJSON reads a document into a tree, whose bytes alias it.
func parseJSON(document []byte) (*jsonNode, error) {
	if len(document) == 0 {
		document = jsonNullDocument
	}
	r := jsonReader{budget: len(document)}
	return r.node(document[0], document[1:], 0)
}

func (r *jsonReader) node(kind byte, data []byte, depth int) (*jsonNode, error) {
	if !isJSONContainer(kind) {
		value, field, err := r.scalar(kind, data)
		if err != nil {
			return nil, err
		}
		switch kind {
		case jsonString:
			value = append(binary.AppendUvarint(nil, uint64(len(value))), value...)
		case jsonOpaque:
			value = append(binary.AppendUvarint([]byte{field}, uint64(len(value))), value...)
		}
		return &jsonNode{kind: kind, value: value}, nil
	}
	if depth++; depth > jsonDepthMax {
		return nil, fmt.Errorf("%w: deeper than %d", errJSON, jsonDepthMax)
	}
	c, err := r.container(kind, data)
	if err != nil {
		return nil, err
	}
	n := &jsonNode{kind: jsonSmallArray}
	if c.object {
		n.kind = jsonSmallObject
	}
	for i := range c.count {
		if c.object {
			name, err := r.key(&c, i)
			if err != nil {
				return nil, err
			}
			n.names = append(n.names, name)
		}
		kind, data, err := c.element(i)
		if err != nil {
			return nil, err
		}
		element, err := r.node(kind, data, depth)
		if err != nil {
			return nil, err
		}
		n.elements = append(n.elements, element)
	}
	return n, nil
}

func (n *jsonNode) isObject() bool { return n.kind == jsonSmallObject || n.kind == jsonLargeObject }
func (n *jsonNode) isArray() bool  { return n.kind == jsonSmallArray || n.kind == jsonLargeArray }

// find gives the place of an object's name, or where it belongs.
func (n *jsonNode) find(name []byte) (int, bool) {
	return slices.BinarySearchFunc(n.names, name, func(a, b []byte) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return bytes.Compare(a, b)
	})
}

// wide is the width of the container's numbers, after measure.
func (n *jsonNode) wide() int {
	if n.kind == jsonLargeObject || n.kind == jsonLargeArray {
		return 4
	}
	return 2
}

// measure sets the sizes of n, which lies in depth containers, and all below, and makes large the containers
// that must be.
func (n *jsonNode) measure(depth int) error {
	if !isJSONContainer(n.kind) {
		n.size = len(n.value)
		return nil
	}
	if depth++; depth > jsonDepthMax {
		return fmt.Errorf("%w: deeper than %d", errJSON, jsonDepthMax)
	}
	for _, element := range n.elements {
		if err := element.measure(depth); err != nil {
			return err
		}
	}
	const smallMax, largeMax = 1<<16 - 1, 1<<32 - 1
	if n.size = n.sizeWith(2); n.size > smallMax || len(n.elements) > smallMax {
		n.kind |= jsonLargeObject // large object and large array are one above the small ones
		if n.size = n.sizeWith(4); n.size > largeMax {
			return fmt.Errorf("JSON document of %d bytes", n.size)
		}
	}
	return nil
}

func (n *jsonNode) sizeWith(wide int) int {
	size := 2*wide + len(n.elements)*(1+wide)
	for _, name := range n.names {
		size += wide + 2 + len(name)
	}
	for _, element := range n.elements {
		if !isJSONInline(element.kind, wide) {
			size += element.size
		}
	}
	return size
}

// document writes the tree as a binary document.
func (n *jsonNode) document() ([]byte, error) {
	if err := n.measure(0); err != nil {
		return nil, err
	}
	return n.write(append(make([]byte, 0, 1+n.size), n.kind)), nil
}

func (n *jsonNode) write(dst []byte) []byte {
	if !isJSONContainer(n.kind) {
		return append(dst, n.value...)
	}
	begin, wide := len(dst), n.wide()
	dst = appendNumber(dst, len(n.elements), wide)
	dst = appendNumber(dst, n.size, wide)
	offset := 2*wide + len(n.elements)*(1+wide) + len(n.names)*(wide+2)
	for _, name := range n.names {
		dst = appendNumber(dst, offset, wide)
		dst = appendNumber(dst, len(name), 2)
		offset += len(name)
	}
	for _, element := range n.elements {
		dst = append(dst, element.kind)
		if isJSONInline(element.kind, wide) {
			end := len(dst) + wide
			dst = append(dst, element.value...)
			dst = append(dst, 0, 0, 0, 0)[:end]
			if sign := element.value[len(element.value)-1]; element.kind == jsonInt16 && wide == 4 && sign >= 0x80 {
				dst[end-2], dst[end-1] = 0xff, 0xff
			}
			continue
		}
		dst = appendNumber(dst, offset, wide)
		offset += element.size
	}
	for _, name := range n.names {
		dst = append(dst, name...)
	}
	for _, element := range n.elements {
		if !isJSONInline(element.kind, wide) {
			dst = element.write(dst)
		}
	}
	if len(dst)-begin != n.size {
		panic(fmt.Sprintf("rowimage: JSON container measured as %d bytes, written as %d", n.size, len(dst)-begin))
	}
	return dst
}

func appendNumber(dst []byte, n, wide int) []byte {
	if wide == 2 {
		return binary.LittleEndian.AppendUint16(dst, uint16(n))
	}
	return binary.LittleEndian.AppendUint32(dst, uint32(n))
}
