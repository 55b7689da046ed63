package publish

import (
	"encoding/binary"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
)

const (
	// slabRecords is how many records are allocated at once.
	slabRecords = 256
	// recordMemory is what a record holds in memory beside its key and value, in bytes: a deleted row's tombstone of
	// ten bytes is not ten bytes.
	recordMemory = int64(unsafe.Sizeof(chunk{}) / slabRecords)
	// slabsKept bounds what is kept for the next transaction: about 16 k records, 4 MB.
	slabsKept = 64
)

// slab holds the client's records of one transaction, with the room for their version headers, so that a record
// costs no allocation once a transaction of the usual size has been seen. The client is done with a record when
// its promise was called, which is before Flush returns; so the slab is used again after a commit.
type slab struct {
	chunks []*chunk
	used   int // records in use, counted over chunks
}

type chunk struct {
	records  [slabRecords]kgo.Record
	headers  [slabRecords]kgo.RecordHeader
	versions [slabRecords][8]byte
}

func (s *slab) next() (*chunk, int) {
	c, i := s.used/slabRecords, s.used%slabRecords
	if c == len(s.chunks) {
		s.chunks = append(s.chunks, new(chunk))
	}
	s.used++
	return s.chunks[c], i
}

// plain returns a record without headers.
func (s *slab) plain() *kgo.Record {
	c, i := s.next()
	c.records[i] = kgo.Record{}
	return &c.records[i]
}

// record returns r as the client wants it, with the version's header.
func (s *slab) record(r *Record) *kgo.Record {
	c, i := s.next()
	binary.BigEndian.PutUint64(c.versions[i][:], uint64(r.Version))
	c.headers[i] = kgo.RecordHeader{Key: change.VersionHeader, Value: c.versions[i][:]}
	headers := c.headers[i : i+1 : i+1]
	if len(r.Headers) > 0 {
		headers = append(headers, r.Headers...)
	}
	c.records[i] = kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: headers}
	return &c.records[i]
}

// reuse takes all records back. Rows are let go of, so that their memory is free while the source is idle.
func (s *slab) reuse() {
	for i, c := range s.chunks {
		n := min(slabRecords, s.used-i*slabRecords)
		if n <= 0 {
			break
		}
		clear(c.records[:n])
		clear(c.headers[:n])
	}
	if len(s.chunks) > slabsKept {
		clear(s.chunks[slabsKept:])
		s.chunks = s.chunks[:slabsKept]
	}
	s.used = 0
}

// states holds the checkpoint's records of one transaction, the newest of each key, in the order in which the keys
// first came.
type states struct {
	keys   []string
	values map[string][]byte
}

func (s *states) put(key string, value []byte) {
	if s.values == nil {
		s.values = map[string][]byte{}
	}
	if _, ok := s.values[key]; !ok {
		s.keys = append(s.keys, key)
	}
	s.values[key] = value
}

func (s *states) each(fn func(key string, value []byte)) {
	for _, k := range s.keys {
		fn(k, s.values[k])
	}
}

func (s *states) clear() {
	s.keys = s.keys[:0]
	clear(s.values)
}
