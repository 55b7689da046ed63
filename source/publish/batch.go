package publish

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
)

// batch is a record batch of one partition as Kafka writes it (message format 2, https://kafka.apache.org/documentation/#recordbatch). Rows
// are encoded as they come, so what a row takes from then on is its bytes and nothing else.
type batch struct {
	to          *partition
	by          producer
	transaction uint64 // of this Publisher, counted
	sequence    int32  // of the first record, among this producer's in the partition
	count       int32
	millis      int64  // the records' time: the topics have LogAppendTime
	records     []byte // encoded, until the batch is packed
	size        int    // bytes of records
	wire        []byte // the whole batch, compressed, from then on
}

// producer is who a batch is by.
type producer struct {
	transactionalID string
	id              int64
	epoch           int16
}

const (
	// batchHeader is how many bytes stand before a batch's records.
	batchHeader = 61
	// batchBytes is when a batch is closed and sent, in bytes before compression: large enough that requests are few, small enough that
	// a partition's next one is compressed while one is on its way. A broker has less work a row with fewer and larger ones.
	batchBytes = 1 << 20
)

// append adds a record of which recordBytes has said the size.
func (b *batch) append(r *Record, size int) {
	b.records = appendRecord(b.records, r, size, b.count)
	b.count++
}

// recordBytes is how many bytes the record has, without its own length, as the count-th of its batch.
func recordBytes(r *Record, count int32) int {
	n := 2 + varintBytes(int64(count)) + nullableBytes(r.Key) + nullableBytes(r.Value) // attributes, and a time that is the batch's
	headers := len(r.Headers)
	if !r.plain {
		headers++
		n += varintBytes(int64(len(change.VersionHeader))) + len(change.VersionHeader) + 1 + 8
	}
	for i := range r.Headers {
		h := &r.Headers[i]
		n += varintBytes(int64(len(h.Key))) + len(h.Key) + nullableBytes(h.Value)
	}
	return n + varintBytes(int64(headers))
}

func appendRecord(dst []byte, r *Record, size int, count int32) []byte {
	dst = binary.AppendVarint(dst, int64(size))
	dst = append(dst, 0, 0)
	dst = binary.AppendVarint(dst, int64(count))
	dst = appendNullable(dst, r.Key)
	dst = appendNullable(dst, r.Value)
	if r.plain {
		dst = binary.AppendVarint(dst, int64(len(r.Headers)))
	} else {
		dst = binary.AppendVarint(dst, int64(len(r.Headers)+1))
		dst = append(binary.AppendVarint(dst, int64(len(change.VersionHeader))), change.VersionHeader...)
		dst = binary.BigEndian.AppendUint64(append(dst, 2*8), uint64(r.Version))
	}
	for i := range r.Headers {
		h := &r.Headers[i]
		dst = append(binary.AppendVarint(dst, int64(len(h.Key))), h.Key...)
		dst = appendNullable(dst, h.Value)
	}
	return dst
}

func appendNullable(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 1) // the length -1
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

func nullableBytes(b []byte) int {
	if b == nil {
		return 1
	}
	return varintBytes(int64(len(b))) + len(b)
}

// varintBytes is how long binary.AppendVarint's form of n is.
func varintBytes(n int64) int { return (bits.Len64(uint64(n<<1^n>>63)|1) + 6) / 7 }

// nextSequence is the number of the record that comes count after one: they begin anew at 0 behind the greatest.
func nextSequence(sequence, count int32) int32 {
	return int32((uint32(sequence) + uint32(count)) & (1<<31 - 1))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pack makes wire of the records, in the memory of room where that is large enough. Records that do not get smaller are left as they are.
func (b *batch) pack(c kgo.Compressor, room []byte) {
	const transactional = 0x10
	b.size = len(b.records)
	wire, codec := slices.Grow(room[:0], batchHeader+b.size+b.size/6+64)[:batchHeader], kgo.CodecNone
	if c != nil {
		var out []byte
		if out, codec = c.Compress(bytes.NewBuffer(wire[batchHeader:]), b.records); out == nil || codec == kgo.CodecError || len(out) >= b.size {
			codec = kgo.CodecNone
		} else if whole := wire[:cap(wire)]; len(whole) > batchHeader && &whole[batchHeader] == &out[0] {
			wire = whole[:batchHeader+len(out)] // it stands where it belongs
		} else {
			wire = append(wire, out...)
		}
	}
	if codec == kgo.CodecNone {
		wire = append(wire, b.records...)
	}
	be := binary.BigEndian
	be.PutUint64(wire, 0) // the offset is the broker's to say
	be.PutUint32(wire[8:], uint32(len(wire)-12))
	be.PutUint32(wire[12:], 0xffffffff) // no leader epoch
	wire[16] = 2                        // message format
	be.PutUint16(wire[21:], uint16(codec)|transactional)
	be.PutUint32(wire[23:], uint32(b.count-1))
	be.PutUint64(wire[27:], uint64(b.millis))
	be.PutUint64(wire[35:], uint64(b.millis))
	be.PutUint64(wire[43:], uint64(b.by.id))
	be.PutUint16(wire[51:], uint16(b.by.epoch))
	be.PutUint32(wire[53:], uint32(b.sequence))
	be.PutUint32(wire[57:], uint32(b.count))
	be.PutUint32(wire[17:], crc32.Checksum(wire[21:], castagnoli))
	b.wire = wire
}
