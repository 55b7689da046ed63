package binlog

import (
	"errors"
	"io"
	"iter"

	wire "github.com/go-mysql-org/go-mysql/mysql"
)

const (
	// streamAbove is the size from which on a compressed transaction is decoded while its packet is being read. It can have
	// a gigabyte. Smaller ones are held whole, as every other event is: their checksum is then known before their first row.
	streamAbove = 1 << 20
	// packetTrusted bounds what is allocated at an event's own word.
	packetTrusted = 16 << 20
)

var errTrailing = errors.New("the packet goes on behind its event")

// packet takes one packet of the connection, an event with a byte before it, as it comes in.
type packet struct {
	decoder *decoder
	bytes   []byte  // the packet so far, unless it is streamed
	stream  *stream // the compressed transaction that it is
}

// Write takes what comes next.
func (p *packet) Write(b []byte) (int, error) {
	if p.stream != nil {
		return p.stream.Write(b)
	}
	const head = 1 + headerLength
	known := len(p.bytes) >= head
	if p.bytes == nil {
		p.bytes = make([]byte, 0, max(len(b), head))
	}
	p.bytes = append(p.bytes, b...)
	if known || len(p.bytes) < head || p.bytes[0] != wire.OK_HEADER {
		return len(b), nil
	}
	h := headerOf(p.bytes[1:])
	if h.kind == typePayload && h.length > streamAbove {
		p.stream = newStream(p.decoder.stream)
		first := p.bytes[1:]
		p.bytes = nil
		if _, err := p.stream.Write(first); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	if whole := min(1+int(h.length), packetTrusted); whole > cap(p.bytes) {
		p.bytes = append(make([]byte, 0, whole), p.bytes...)
	}
	return len(b), nil
}

// finish ends the stream after the packet was read, or was not for the reason of err. Only the stream's own error is
// returned.
func (p *packet) finish(err error) error {
	if err == nil {
		return p.stream.finish()
	}
	return p.stream.err
}

// stop gives up a stream that is not at its end.
func (p *packet) stop() {
	if p.stream != nil {
		p.stream.stop()
	}
}

// stream hands the bytes that are written to it to a function that reads them, in turns: nothing is held in between, and
// the two never run at once.
type stream struct {
	chunk []byte
	ended bool
	err   error // the function's
	next  func() (struct{}, bool)
	stop  func()
	more  func(struct{}) bool // the function's way to wait
}

func newStream(read func(io.Reader) error) *stream {
	s := &stream{}
	s.next, s.stop = iter.Pull(func(more func(struct{}) bool) {
		s.more = more
		s.err = read(s)
	})
	return s
}

// Write returns when all of b was read, with the function's error when it has returned.
func (s *stream) Write(b []byte) (int, error) {
	s.chunk = b
	if _, waits := s.next(); !waits && s.err == nil && len(s.chunk) > 0 {
		s.err = errTrailing
	}
	if s.err != nil {
		return 0, s.err
	}
	return len(b), nil
}

// finish says that nothing more comes, and returns the function's error.
func (s *stream) finish() error {
	s.ended = true
	s.next()
	return s.err
}

// Read is for the function.
func (s *stream) Read(b []byte) (int, error) {
	for len(s.chunk) == 0 {
		if s.ended || len(b) == 0 {
			return 0, io.EOF
		}
		if !s.more(struct{}{}) {
			return 0, io.ErrUnexpectedEOF
		}
	}
	n := copy(b, s.chunk)
	s.chunk = s.chunk[n:]
	return n, nil
}
