package binlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The types of events that the decoder knows.
const (
	typeQuery             = 2
	typeStop              = 3
	typeRotate            = 4
	typeIntvar            = 5
	typeRand              = 13
	typeUserVar           = 14
	typeFormatDescription = 15
	typeXID               = 16
	typeBeginLoad         = 17
	typeExecuteLoad       = 18
	typeTableMap          = 19
	typeIncident          = 26
	typeHeartbeat         = 27
	typeIgnorable         = 28
	typeRowsQuery         = 29
	typeGTID              = 33
	typeAnonymousGTID     = 34
	typePreviousGTIDs     = 35
	typeContext           = 36 // group replication's
	typeViewChange        = 37
	typeXAPrepare         = 38
	typePayload           = 40
	typeHeartbeatV2       = 41
	typeTaggedGTID        = 42

	typeMariaDBAnnotate        = 160
	typeMariaDBCheckpoint      = 161
	typeMariaDBGTID            = 162
	typeMariaDBGTIDList        = 163
	typeMariaDBStartEncryption = 164
	typeMariaDBQueryCompressed = 165
)

const (
	headerLength   = 19
	checksumLength = 4

	flagArtificial = 0x20 // the dump thread made it; it is not in the file
	flagIgnorable  = 0x80 // a reader that does not know it may go on
)

// header is the common header of events. Length counts header, body and checksum.
type header struct {
	timestamp uint32
	kind      byte
	serverID  uint32
	length    uint32
	logPos    uint32 // the low 32 bits of where the event ends in its file; 0: not in the file
	flags     uint16
}

var errTruncated = errors.New("the event ends too early")

// parseHeader reads the header of an event that has all its bytes.
func parseHeader(raw []byte) (header, error) {
	if len(raw) < headerLength {
		return header{}, errTruncated
	}
	h := headerOf(raw)
	if int64(h.length) != int64(len(raw)) {
		return h, fmt.Errorf("the event says that it has %d bytes and has %d", h.length, len(raw))
	}
	return h, nil
}

// headerOf reads a header that is whole.
func headerOf(raw []byte) header {
	return header{
		timestamp: binary.LittleEndian.Uint32(raw), kind: raw[4], serverID: binary.LittleEndian.Uint32(raw[5:]),
		length: binary.LittleEndian.Uint32(raw[9:]), logPos: binary.LittleEndian.Uint32(raw[13:]),
		flags: binary.LittleEndian.Uint16(raw[17:]),
	}
}

var errChecksum = errors.New("the event's checksum is wrong: it was damaged on disk or on the way")

// cutChecksum verifies the CRC32 at an event's end and takes it off.
func cutChecksum(raw []byte) ([]byte, error) {
	if len(raw) < headerLength+checksumLength {
		return nil, errTruncated
	}
	data := raw[:len(raw)-checksumLength]
	if want := binary.LittleEndian.Uint32(raw[len(data):]); crc32.ChecksumIEEE(data) != want {
		return nil, errChecksum
	}
	return data, nil
}

// formatChecksum returns whether the events that follow a format description end with a CRC32. The last five
// bytes of every format description since 5.6 are the algorithm (0 none, 1 CRC32) and its own checksum,
// which is there in both cases.
func formatChecksum(raw []byte) (bool, error) {
	if len(raw) < headerLength+2+50+4+1+1+checksumLength {
		return false, errTruncated
	}
	switch algorithm := raw[len(raw)-checksumLength-1]; algorithm {
	case 0:
		return false, nil
	case 1:
		_, err := cutChecksum(raw)
		return true, err
	default:
		return false, fmt.Errorf("checksum algorithm %d is not known", algorithm)
	}
}

// formatVersion returns the version of the server that wrote the file: 50 bytes filled up with zeros, behind the binlog's own
// version. A format description that is too short has none; formatChecksum refuses it.
func formatVersion(raw []byte) string {
	if len(raw) < headerLength+2+50 {
		return ""
	}
	version, _, _ := bytes.Cut(raw[headerLength+2:headerLength+2+50], []byte{0})
	return string(version)
}

// cursor reads a body from its front. After the first read beyond the end it gives zeros, and short is set.
type cursor struct {
	rest  []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.rest) {
		c.short, c.rest = true, nil
		return nil
	}
	taken := c.rest[:n:n]
	c.rest = c.rest[n:]
	return taken
}

// number reads n bytes, at most 8, little-endian.
func (c *cursor) number(n int) uint64 {
	var value uint64
	for i, b := range c.take(n) {
		value |= uint64(b) << (8 * i)
	}
	return value
}

func (c *cursor) err() error {
	if c.short {
		return errTruncated
	}
	return nil
}
