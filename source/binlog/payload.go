package binlog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// The fields before a TRANSACTION_PAYLOAD_EVENT's payload, and the kinds of compression.
const (
	payloadEnd         = 0
	payloadCompression = 2

	compressionZSTD = 0
	compressionNone = 255
)

const (
	// windowMax is what zstd needs at its highest level (22): 128 MiB. At the default level it is 2 MiB.
	windowMax = 128 << 20
	// innerMax is the largest event that a server can write.
	innerMax = 1 << 30
)

// payload reads the events of one compressed transaction, one at a time.
type payload struct {
	reader io.Reader
	close  func()
}

// openPayload reads the fields: id, length and value of each, packed integers, until id 0.
func openPayload(body io.Reader) (*payload, error) {
	source := bufio.NewReader(body)
	compression := uint64(compressionNone)
	for {
		id, err := readPacked(source)
		if err != nil {
			return nil, fmt.Errorf("read transaction payload: %w", err)
		}
		if id == payloadEnd {
			break
		}
		value, err := readField(source)
		if err != nil {
			return nil, fmt.Errorf("read transaction payload: %w", err)
		}
		if id == payloadCompression {
			compression = packed(&value)
		}
	}
	switch compression {
	case compressionNone:
		return &payload{reader: source, close: func() {}}, nil
	case compressionZSTD:
		decoder, err := zstd.NewReader(source, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(windowMax))
		if err != nil {
			return nil, fmt.Errorf("read transaction payload: %w", err)
		}
		return &payload{reader: decoder, close: decoder.Close}, nil
	}
	return nil, fmt.Errorf("read transaction payload: compression %d is not known", compression)
}

// readField reads the value of a field: its length, and so many bytes.
func readField(r *bufio.Reader) (cursor, error) {
	const lengthMax = 4096 // the fields are integers
	length, err := readPacked(r)
	if err == nil && length > lengthMax {
		err = fmt.Errorf("a field of %d bytes", length)
	}
	if err != nil {
		return cursor{}, err
	}
	value := make([]byte, length)
	if _, err := io.ReadFull(r, value); err != nil {
		return cursor{}, errTruncated
	}
	return cursor{rest: value}, nil
}

// readPacked reads a packed integer.
func readPacked(r *bufio.Reader) (uint64, error) {
	const longest = 9
	peeked, err := r.Peek(longest) // at the end there may be fewer
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	c := cursor{rest: peeked}
	n := packed(&c)
	if c.short {
		return 0, errTruncated
	}
	_, err = r.Discard(len(peeked) - len(c.rest))
	return n, err
}

// next returns the next event, io.EOF after the last. Its bytes are the caller's. Inner events have no
// checksum.
func (p *payload) next() ([]byte, error) {
	var head [headerLength]byte
	if _, err := io.ReadFull(p.reader, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("read transaction payload: %w", err)
	}
	length := binary.LittleEndian.Uint32(head[9:])
	if length < headerLength || length > innerMax {
		return nil, fmt.Errorf("read transaction payload: an event of %d bytes", length)
	}
	event, err := readAll(p.reader, head[:], int(length))
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("read transaction payload: %w", err)
	}
	return event, nil
}

// readAll reads on after head until there are length bytes. Large ones are not allocated before their bytes
// are there: a damaged length must not take all memory.
func readAll(r io.Reader, head []byte, length int) ([]byte, error) {
	const trusted = 16 << 20
	if length <= trusted {
		event := make([]byte, length)
		n := copy(event, head)
		_, err := io.ReadFull(r, event[n:])
		return event, err
	}
	var event bytes.Buffer
	event.Write(head)
	if _, err := io.CopyN(&event, r, int64(length-len(head))); err != nil {
		return nil, err
	}
	return event.Bytes(), nil
}

// packed reads MySQL's integer of 1, 3, 4 or 9 bytes.
func packed(c *cursor) uint64 {
	switch first := c.number(1); first {
	case 0xfc:
		return c.number(2)
	case 0xfd:
		return c.number(3)
	case 0xfe:
		return c.number(8)
	case 0xfb, 0xff:
		c.short = true
		return 0
	default:
		return first
	}
}
