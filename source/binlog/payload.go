package binlog

import (
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
func openPayload(body []byte) (*payload, error) {
	c := cursor{rest: body}
	compression := uint64(compressionNone)
	for {
		id := packed(&c)
		if c.short {
			return nil, fmt.Errorf("read transaction payload: %w", errTruncated)
		}
		if id == payloadEnd {
			break
		}
		value := cursor{rest: c.take(int(packed(&c)))}
		if id == payloadCompression {
			compression = packed(&value)
		}
	}
	source := bytes.NewReader(c.rest)
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
