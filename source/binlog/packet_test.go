package binlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// feed gives the decoder an event as a connection does: in pieces of so many bytes, with a zero before it.
func feed(d *decoder, raw []byte, piece int) error {
	p := packet{decoder: d}
	defer p.stop()
	for rest := append([]byte{0}, raw...); len(rest) > 0; rest = rest[min(piece, len(rest)):] {
		if _, err := p.Write(rest[:min(piece, len(rest))]); err != nil {
			return err
		}
	}
	if p.stream != nil {
		return p.finish(nil)
	}
	return d.event(p.bytes[1:])
}

// compressed makes a transaction of so many rows of so many random bytes, and the events before it.
func compressed(t testing.TB, m *maker, checksum bool, rows, size int) (head [][]byte, payload []byte) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{1})
	inner := &maker{}
	head = [][]byte{m.rotate("binlog.000001", 4), m.format(checksum, true), m.gtid(5)}
	payload = m.event(typePayload, payloadBody(t, zstd.SpeedFastest, func(w io.Writer) {
		w.Write(inner.raw(typeQuery, queryBody("BEGIN"), 0, 0))
		w.Write(inner.raw(typeTableMap, tableMapBody, 0, 0))
		for range rows {
			value := make([]byte, size)
			random.Read(value)
			w.Write(inner.raw(30, insertBody(value), 0, 0))
		}
		w.Write(inner.raw(typeXID, make([]byte, 8), 0, 0))
	}))
	return head, payload
}

// TestStreamedEqualsWhole: however the bytes are cut, a compressed transaction that comes as a stream gives the events that it
// gives as a whole, and so does what comes behind it.
func TestStreamedEqualsWhole(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := &maker{}
		head, payload := compressed(t, m, rapid.Bool().Draw(r, "checksum"), rapid.IntRange(1, 20).Draw(r, "rows"), 1<<17)
		raws := append(head, payload, m.gtid(6), m.event(typeQuery, queryBody("DROP TABLE x")))
		piece := rapid.SampledFrom([]int{1 << 8, 1<<12 + 1, 16 << 10, 1 << 24}).Draw(r, "piece")
		var whole, pieces []string
		into := func(list *[]string) *decoder {
			return newTestDecoder(func(e *Event) error {
				var sum uint32
				if e.Kind == Rows {
					sum = crc32.ChecksumIEEE(e.Rows.Data)
				}
				*list = append(*list, fmt.Sprintf("%v %v %x %d", e.Kind, e.Position, sum, e.Bytes))
				return nil
			})
		}
		a, b := into(&whole), into(&pieces)
		for _, raw := range raws {
			if err := a.event(bytes.Clone(raw)); err != nil {
				t.Fatal(err)
			}
			if err := feed(b, raw, piece); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(whole, pieces); diff != "" {
			t.Errorf("want -, got +\n%s", diff)
		}
	})
}

// TestStreamBreaksOff: a compressed transaction that is damaged, cut, or not wanted any more ends with the reason, and its
// commit is never delivered.
func TestStreamBreaksOff(t *testing.T) {
	own := errors.New("own")
	for _, c := range []struct {
		name string
		hurt func(payload []byte) []byte
		stop int // handle's own error after so many rows
		want error
	}{
		{"whole", func(p []byte) []byte { return p }, 0, nil},
		{"checksum", func(p []byte) []byte { p[len(p)-1] ^= 1; return p }, 0, errChecksum},
		{"a header's bit", func(p []byte) []byte { p[17] ^= 4; return p }, 0, errChecksum},
		{"cut", func(p []byte) []byte { return p[:len(p)/2] }, 0, io.ErrUnexpectedEOF},
		{"cut in the checksum", func(p []byte) []byte { return p[:len(p)-2] }, 0, errTruncated},
		{"too long", func(p []byte) []byte { return append(p, 1) }, 0, errTrailing},
		{"too short for its checksum", func(p []byte) []byte {
			binary.LittleEndian.PutUint32(p[9:], uint32(len(p)-8))
			return p
		}, 0, io.ErrUnexpectedEOF},
		{"handler", func(p []byte) []byte { return p }, 3, own},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &maker{}
			head, payload := compressed(t, m, true, 10, 1<<18)
			rows, commits := 0, 0
			d := newTestDecoder(func(e *Event) error {
				switch e.Kind {
				case Commit:
					commits++
				case Rows:
					if rows++; rows == c.stop {
						return own
					}
				}
				return nil
			})
			for _, raw := range head {
				if err := feed(d, raw, 1<<14); err != nil {
					t.Fatal(err)
				}
			}
			err := feed(d, c.hurt(payload), 1<<14)
			if !errors.Is(err, c.want) && !errors.As(err, new(handlerError)) || (err == nil) != (c.want == nil) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if whole := c.want == nil || c.want == errTrailing; (commits == 1) != whole {
				t.Errorf("%d commits after %d rows", commits, rows)
			}
		})
	}
}

// TestStopWithoutEnd: a connection that is lost in the middle of a streamed transaction leaves nothing running.
func TestStopWithoutEnd(t *testing.T) {
	m := &maker{}
	head, payload := compressed(t, m, true, 10, 1<<18)
	rows := 0
	d := newTestDecoder(func(e *Event) error {
		if e.Kind == Rows {
			rows++
		}
		return nil
	})
	for _, raw := range head {
		if err := d.event(raw); err != nil {
			t.Fatal(err)
		}
	}
	p := packet{decoder: d}
	if _, err := p.Write(append([]byte{0}, payload[:len(payload)/2]...)); err != nil || p.stream == nil {
		t.Fatal(err, p.stream)
	}
	if err := p.finish(io.ErrUnexpectedEOF); err != nil {
		t.Error(err)
	}
	p.stop()
	if !errors.Is(p.stream.err, io.ErrUnexpectedEOF) || rows < 3 || rows > 6 {
		t.Errorf("%v after %d rows", p.stream.err, rows)
	}
}
