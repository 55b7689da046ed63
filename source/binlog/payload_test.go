package binlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/sluice-cdc/sluice/mysql/rowimage"
)

// tableMapBody is a table d.t of one LONGBLOB.
var tableMapBody = []byte{9, 0, 0, 0, 0, 0, 1, 0, 1, 'd', 0, 1, 't', 0, 1, 0xfc, 1, 4, 1}

// insertBody is an insert of one row into it.
func insertBody(value []byte) []byte {
	body := []byte{9, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1, 0}
	return append(binary.LittleEndian.AppendUint32(body, uint32(len(value))), value...)
}

// payloadBody compresses the events that write gives.
func payloadBody(t testing.TB, level zstd.EncoderLevel, write func(w io.Writer)) []byte {
	t.Helper()
	var compressed bytes.Buffer
	encoder, err := zstd.NewWriter(&compressed, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	write(encoder)
	if err := encoder.Close(); err != nil {
		t.Fatal(err)
	}
	fields := []byte{payloadCompression, 1, compressionZSTD, 3, 4, 0xfd, 0, 0, 0, payloadEnd}
	return append(fields, compressed.Bytes()...)
}

// TestLargeCompressed reads a transaction of 300 MB that is compressed to little: it must pass as a stream,
// before the position of its end, and be behind it with the commit.
func TestLargeCompressed(t *testing.T) {
	const rows, size, memoryMax = 300, 1 << 20, 16 << 20
	inner := &maker{}
	m := &maker{}
	head := [][]byte{m.rotate("binlog.000001", 4), m.format(true, true), m.gtid(5)}
	before := m.at
	payload := m.event(typePayload, payloadBody(t, zstd.SpeedFastest, func(w io.Writer) {
		w.Write(inner.raw(typeQuery, queryBody("BEGIN"), 0, 0))
		w.Write(inner.raw(typeTableMap, tableMapBody, 0, 0))
		for i := range rows {
			w.Write(inner.raw(30, insertBody(bytes.Repeat([]byte{byte(i)}, size)), 0, 0))
		}
		w.Write(inner.raw(typeXID, make([]byte, 8), 0, 0))
	}))
	if len(payload) > 1<<20 {
		t.Fatalf("the payload has %d bytes", len(payload))
	}
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	start, most := memory.HeapAlloc, uint64(0)
	var walker Walker
	seen, commits := 0, 0
	d := newTestDecoder(func(e *Event) error {
		switch e.Kind {
		case Commit:
			commits++
			if e.Position.Offset != m.at || e.GTID.GNO != 5 {
				t.Errorf("committed at %s", e.Position)
			}
		case Rows:
			if e.Position.Offset != before {
				t.Errorf("row %d at %s", seen, e.Position)
			}
			err := walker.Walk(e, func(_, after []rowimage.Cell, _ []byte) error {
				if len(after[0].Data) != size || after[0].Data[size-1] != byte(seen) {
					t.Errorf("row %d: %d bytes", seen, len(after[0].Data))
				}
				return nil
			})
			if seen++; seen%50 == 0 {
				runtime.GC() // what is reachable is what counts
				runtime.ReadMemStats(&memory)
				most = max(most, memory.HeapAlloc)
			}
			return err
		}
		return nil
	})
	for _, raw := range append(head, payload) {
		if err := feed(d, raw, 16<<10); err != nil {
			t.Fatal(err)
		}
	}
	if seen != rows || commits != 1 {
		t.Errorf("%d rows, %d commits", seen, commits)
	}
	if most > start+memoryMax {
		t.Errorf("reading took %d MB", (most-start)>>20)
	}
}

func TestBrokenPayloads(t *testing.T) {
	inner := &maker{}
	whole := payloadBody(t, zstd.SpeedDefault, func(w io.Writer) {
		w.Write(inner.raw(typeQuery, queryBody("BEGIN"), 0, 0))
		w.Write(inner.raw(typeXID, make([]byte, 8), 0, 0))
	})
	unknown := bytes.Clone(whole)
	unknown[2] = 77
	nested := payloadBody(t, zstd.SpeedDefault, func(w io.Writer) { w.Write(inner.raw(typePayload, whole, 0, 0)) })
	huge := payloadBody(t, zstd.SpeedDefault, func(w io.Writer) {
		raw := inner.raw(typeQuery, queryBody("BEGIN"), 0, 0)
		binary.LittleEndian.PutUint32(raw[9:], 900<<20)
		w.Write(raw)
	})
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"cut":     {whole[:len(whole)-4], "unexpected EOF"},
		"header":  {whole[:2], errTruncated.Error()},
		"unknown": {unknown, "compression 77 is not known"},
		"nested":  {nested, "within a transaction payload"},
		"huge":    {huge, "unexpected EOF"},
	} {
		m := &maker{}
		_, err := decode(t, m.rotate("binlog.000001", 4), m.format(false, true), m.gtid(1), m.event(typePayload, c.body))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	plain := append([]byte{payloadCompression, 3, 0xfc, compressionNone, 0, payloadEnd}, inner.raw(typeXID, make([]byte, 8), 0, 0)...)
	m := &maker{}
	if _, err := decode(t, m.rotate("binlog.000001", 4), m.format(false, true), m.gtid(1), m.event(typePayload, plain)); err != nil {
		t.Errorf("not compressed: %v", err)
	}
}

// TestHeldRowsSpill holds more than the memory allows and gives all of it back in order.
func TestHeldRowsSpill(t *testing.T) {
	for _, memoryMax := range []int64{0, 100, 1 << 20} {
		s := newXAStore(t.TempDir(), memoryMax)
		defer s.close()
		var open []*held
		for _, xid := range []string{"a", "b", "c"} {
			h := s.open(xid)
			for i := range 10 {
				if err := s.add(h, bytes.Repeat([]byte{xid[0], byte(i)}, 10)); err != nil {
					t.Fatal(err)
				}
			}
			if s.memory > memoryMax {
				t.Errorf("%d bytes are held, %d are allowed", s.memory, memoryMax)
			}
			s.keep(h)
			open = append(open, h)
		}
		for _, xid := range []string{"b", "a", "c"} {
			h := s.take(xid)
			for range 2 { // a second look sees the same
				i := 0
				if err := h.each(func(raw []byte) error {
					if !bytes.Equal(raw, bytes.Repeat([]byte{xid[0], byte(i)}, 10)) {
						t.Errorf("%s: event %d is %q", xid, i, raw)
					}
					i++
					return nil
				}); err != nil || i != 10 {
					t.Errorf("%s: %d events, %v", xid, i, err)
				}
			}
			s.drop(h)
		}
		if s.memory != 0 || len(s.all) != 0 || s.take("a") != nil {
			t.Errorf("%d bytes are left of %d transactions", s.memory, len(open))
		}
	}
	own := errors.New("own")
	h := newXAStore(t.TempDir(), 100)
	if err := h.add(h.open("a"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	for one := range h.all {
		if err := one.each(func([]byte) error { return own }); err != own {
			t.Errorf("the receiver's error: %v", err)
		}
	}
}
