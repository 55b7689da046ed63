package publish

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
)

// randomRecord has what may be absent absent now and then, and lengths on both sides of where a varint grows.
func randomRecord(random *rand.Rand) Record {
	text := func(most int) []byte {
		switch random.IntN(8) {
		case 0:
			return nil
		case 1:
			return []byte{}
		}
		b := make([]byte, random.IntN(most))
		for i := range b {
			b[i] = byte('a' + random.IntN(4))
		}
		return b
	}
	r := Record{Key: text(150), Value: text(1 << random.IntN(16)), Version: change.Version(random.Int64()), plain: random.IntN(4) == 0}
	for range random.IntN(3) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: string(text(70)), Value: text(70)})
	}
	return r
}

// A batch is read by another's reader as what was put into it, whatever the codec.
func TestBatchIsReadAsItWasWritten(t *testing.T) {
	random := seed(t)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		config := kafka.Default()
		config.Compression = codec
		compressor, err := kafka.Compressor(config)
		must(t, err)
		var room []byte
		for range 60 {
			b := &batch{by: producer{id: random.Int64(), epoch: int16(random.IntN(1 << 15))}, sequence: random.Int32(), millis: random.Int64N(1 << 42)}
			var records []Record
			for range 1 + random.IntN(200) {
				r := randomRecord(random)
				before, size := len(b.records), recordBytes(&r, b.count)
				b.append(&r, size)
				if got := len(b.records) - before - varintBytes(int64(size)); got != size {
					t.Fatalf("a record has %d bytes, %d were foretold", got, size)
				}
				records = append(records, r)
			}
			b.pack(compressor, room)
			if err := readAs(b, records); err != nil {
				t.Fatalf("%s: %v", codec, err)
			}
			if codec != "none" && len(b.wire) > batchHeader+b.size {
				t.Errorf("%s: %d bytes have become %d", codec, b.size, len(b.wire))
			}
			room = b.wire // used again, as the sender does
		}
	}
}

// readAs reads the batch with the Kafka client's own means.
func readAs(b *batch, want []Record) error {
	var got kmsg.RecordBatch
	if err := got.ReadFrom(b.wire); err != nil {
		return err
	}
	if sum := crc32.Checksum(b.wire[21:], crc32.MakeTable(crc32.Castagnoli)); uint32(got.CRC) != sum {
		return fmt.Errorf("checksum %x, want %x", got.CRC, sum)
	}
	head := fmt.Sprint(got.FirstOffset, got.Magic, got.Attributes&^7, got.PartitionLeaderEpoch, got.LastOffsetDelta, got.FirstTimestamp, got.MaxTimestamp,
		got.ProducerID, got.ProducerEpoch, got.FirstSequence, got.NumRecords)
	if expected := fmt.Sprint(0, 2, 0x10, -1, len(want)-1, b.millis, b.millis, b.by.id, b.by.epoch, b.sequence, len(want)); head != expected {
		return fmt.Errorf("the batch says %s, want %s", head, expected)
	}
	raw, err := kgo.DefaultDecompressor().Decompress(got.Records, kgo.CompressionCodecType(got.Attributes&7))
	if err != nil {
		return err
	}
	for i := range want {
		size, n := binary.Varint(raw)
		if n <= 0 || int(size) > len(raw)-n {
			return fmt.Errorf("record %d has the length %d", i, size)
		}
		var r kmsg.Record
		if err := r.ReadFrom(raw[:n+int(size)]); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		raw = raw[n+int(size):]
		if err := same(&r, &want[i], i); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
	}
	if len(raw) > 0 {
		return fmt.Errorf("%d bytes are left", len(raw))
	}
	return nil
}

func same(got *kmsg.Record, want *Record, offset int) error {
	alike := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	headers := want.Headers
	if !want.plain {
		version := kgo.RecordHeader{Key: change.VersionHeader, Value: binary.BigEndian.AppendUint64(nil, uint64(want.Version))}
		headers = append([]kgo.RecordHeader{version}, headers...)
	}
	if !alike(got.Key, want.Key) || !alike(got.Value, want.Value) || int(got.OffsetDelta) != offset || got.TimestampDelta64 != 0 || len(got.Headers) != len(headers) {
		return fmt.Errorf("got %q %q at %d with %d headers", got.Key, got.Value, got.OffsetDelta, len(got.Headers))
	}
	for i, h := range got.Headers {
		if h.Key != headers[i].Key || !alike(h.Value, headers[i].Value) {
			return fmt.Errorf("header %d is %q", i, h.Key)
		}
	}
	return nil
}

func TestSequencesBeginAnew(t *testing.T) {
	for _, c := range [][3]int32{{0, 0, 0}, {0, 5, 5}, {1<<31 - 6, 5, 1<<31 - 1}, {1<<31 - 5, 5, 0}, {1<<31 - 1, 1, 0}, {1<<31 - 1, 3, 2}} {
		if got := nextSequence(c[0], c[1]); got != c[2] {
			t.Errorf("%d records on from %d is %d, want %d", c[1], c[0], got, c[2])
		}
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		answer    error
		tries     int
		fine      bool
		retriable bool
	}{
		{nil, 0, true, false},
		{kerr.DuplicateSequenceNumber, 0, true, false},
		{fmt.Errorf("%w (said)", kerr.DuplicateSequenceNumber), 0, true, false},
		{errCut, 1000, false, true},
		{errNoAnswer, 0, false, true},
		{kerr.NotLeaderForPartition, 1000, false, true},
		{kerr.RequestTimedOut, 0, false, true},
		{kerr.ConcurrentTransactions, 0, false, true},
		{fmt.Errorf("add: %w", kerr.ConcurrentTransactions), 0, false, true},
		{kerr.UnknownTopicOrPartition, 0, false, true},
		{kerr.UnknownTopicOrPartition, unknownTriesMax, false, false},
		{kerr.UnknownTopicID, unknownTriesMax, false, false},
		{errOtherTopic, 0, false, false},
		{kerr.InvalidProducerEpoch, 0, false, false},
		{kerr.ProducerFenced, 0, false, false},
		{kerr.OutOfOrderSequenceNumber, 0, false, false},
		{kerr.UnknownProducerID, 0, false, false},
		{kerr.InvalidTxnState, 0, false, false},
		{kerr.MessageTooLarge, 0, false, false},
		{kerr.CorruptMessage, 0, false, false},
		{kerr.UnknownServerError, 0, false, false},
	} {
		retriable, err := judge(c.answer, c.tries)
		if (err == nil) != c.fine || retriable != c.retriable || err != nil && !errors.Is(err, c.answer) {
			t.Errorf("%v after %d tries: again %v, error %v", c.answer, c.tries, retriable, err)
		}
	}
}
