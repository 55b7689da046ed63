package rowimage

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"fmt"
	"io"
)

// uncompressedMax bounds what a compressed event or column may grow to: the server's own limit of one packet.
const uncompressedMax = 1 << 30

// uncompressEvent reads what MariaDB's log_bin_compress makes of an event's rows: a byte 0x80 | algorithm<<4 |
// length's length, the uncompressed length (big-endian), and a zlib stream. The only algorithm is 0.
func uncompressEvent(data []byte) ([]byte, error) {
	r := reader{b: data}
	head := r.uint8()
	size := bigEndian(r.take(uint64(head & 0x07)))
	if err := r.err(); err != nil {
		return nil, err
	}
	if head&0x80 == 0 || head&0x70 != 0 {
		return nil, fmt.Errorf("compression header %#x is not known", head)
	}
	stream, err := zlib.NewReader(bytes.NewReader(r.b))
	if err != nil {
		return nil, err
	}
	return readExactly(stream, size)
}

// uncompressColumn reads a value of one of MariaDB's COMPRESSED columns: a header byte algorithm<<4 | no-wrap<<3 |
// length's length; algorithm 0 means that the value follows as it is, 8 a deflate stream (with zlib's frame
// unless no-wrap), before which the uncompressed length stands (big-endian). An empty value has no header.
func uncompressColumn(data []byte) ([]byte, error) {
	const algorithmPlain, algorithmZlib, noWrap = 0, 8, 0x08
	if len(data) == 0 {
		return data, nil
	}
	r := reader{b: data}
	head := r.uint8()
	switch head >> 4 {
	case algorithmPlain:
		return r.b, nil
	case algorithmZlib:
	default:
		return nil, fmt.Errorf("column compression header %#x is not known", head)
	}
	size := bigEndian(r.take(uint64(head & 0x07)))
	if err := r.err(); err != nil {
		return nil, err
	}
	if head&noWrap != 0 {
		return readExactly(flate.NewReader(bytes.NewReader(r.b)), size)
	}
	stream, err := zlib.NewReader(bytes.NewReader(r.b))
	if err != nil {
		return nil, err
	}
	return readExactly(stream, size)
}

// readExactly reads size bytes and wants the stream to end there. The buffer grows with what really comes,
// never with what a broken header announces.
func readExactly(stream io.ReadCloser, size uint64) ([]byte, error) {
	defer stream.Close()
	if size > uncompressedMax {
		return nil, fmt.Errorf("%d bytes uncompressed, the limit is %d", size, uncompressedMax)
	}
	var out bytes.Buffer
	n, err := io.Copy(&out, io.LimitReader(stream, int64(size)+1))
	if err != nil {
		return nil, fmt.Errorf("uncompress: %w", err)
	}
	if uint64(n) != size {
		return nil, fmt.Errorf("uncompress: the header says %d bytes, the stream holds %d or more", size, n)
	}
	return out.Bytes(), nil
}
