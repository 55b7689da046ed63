package avro

import (
	"encoding/binary"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
)

// Row is one row image, in one of two forms; the zero Row is no image.
type Row struct {
	// Cells is a row image of the binlog, one cell for each of the table's columns.
	Cells []rowimage.Cell
	// Text is a row of the text protocol, one for each of the table's columns, nil for NULL. It must come from
	// Encoder.SelectList in a session with time_zone = '+00:00' and character_set_results = NULL.
	Text [][]byte
}

func (r Row) absent() bool { return r.Cells == nil && r.Text == nil }

// Source is the envelope's source block. Debezium's fields connector ("mysql") and sequence (null) are constant.
type Source struct {
	Version, Name    string
	TsMs, TsUs, TsNs int64  // commit time since 1970
	Snapshot         string // "false" (also when empty), "true", "incremental"
	DB, Table        string
	ServerID         int64
	GTID             string // empty: null
	File             string
	Pos              int64
	Row              int32 // index of the row in its binlog event
	Thread           int64 // 0: null
	Query            string
}

// SourceBlock is a Source encoded once for many rows; only the row index is written anew. The zero value must be Set. An event's times
// are kept beside it, for they too are the same for many rows.
type SourceBlock struct {
	prefix, suffix []byte

	times []byte
	tsMs  int64 // of times
}

// Set encodes s; it must be called again when a field other than Row changes. It reuses the block's memory.
func (b *SourceBlock) Set(s *Source) {
	b.prefix = appendSourcePrefix(b.prefix[:0], s)
	b.suffix = appendSourceSuffix(b.suffix[:0], s)
}

// Transaction is the envelope's transaction block: orders count from 1.
type Transaction struct {
	ID                              string
	TotalOrder, DataCollectionOrder int64
}

// Event is one change event to encode.
type Event struct {
	Op            change.Op
	Before, After Row
	// BeforeKey is the Avro body of the row's key where nothing else is known of the row before: Before is absent then. The image has
	// the key's columns, and null for all others.
	BeforeKey []byte
	Source    Source
	// Block, when not nil, stands for Source in all but Source.Row.
	Block       *SourceBlock
	TsMs        int64        // when the source made the event; ts_us and ts_ns are the same moment
	Transaction *Transaction // nil: null
}

// Union branches as they are written: Avro's int of the branch's index.
const (
	branch0 = 0
	branch1 = 2
)

func appendLong(dst []byte, n int64) []byte { return binary.AppendVarint(dst, n) }

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendVarint(dst, int64(len(s))), s...)
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

// appendOptional appends a ["null","string"], null for the empty string.
func appendOptional(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, branch0)
	}
	return appendString(append(dst, branch1), s)
}

func appendSourcePrefix(dst []byte, s *Source) []byte {
	dst = appendString(dst, s.Version)
	dst = appendString(dst, "mysql")
	dst = appendString(dst, s.Name)
	dst = appendLong(dst, s.TsMs)
	snapshot := s.Snapshot
	if snapshot == "" {
		snapshot = "false"
	}
	dst = appendString(append(dst, branch0), snapshot)
	dst = appendString(dst, s.DB)
	dst = append(dst, branch0) // sequence
	dst = appendLong(append(dst, branch1), s.TsUs)
	dst = appendLong(append(dst, branch1), s.TsNs)
	dst = appendOptional(dst, s.Table)
	dst = appendLong(dst, s.ServerID)
	dst = appendOptional(dst, s.GTID)
	dst = appendString(dst, s.File)
	return appendLong(dst, s.Pos)
}

func appendSourceSuffix(dst []byte, s *Source) []byte {
	if s.Thread == 0 {
		dst = append(dst, branch0)
	} else {
		dst = appendLong(append(dst, branch1), s.Thread)
	}
	return appendOptional(dst, s.Query)
}

func (ev *Event) appendSource(dst []byte) []byte {
	if b := ev.Block; b != nil {
		dst = append(dst, b.prefix...)
		dst = appendLong(dst, int64(ev.Source.Row))
		return append(dst, b.suffix...)
	}
	dst = appendSourcePrefix(dst, &ev.Source)
	dst = appendLong(dst, int64(ev.Source.Row))
	return appendSourceSuffix(dst, &ev.Source)
}

func (ev *Event) appendTransaction(dst []byte) []byte {
	t := ev.Transaction
	if t == nil {
		return append(dst, branch0)
	}
	dst = appendString(append(dst, branch1), t.ID)
	dst = appendLong(dst, t.TotalOrder)
	return appendLong(dst, t.DataCollectionOrder)
}

func (ev *Event) appendTimes(dst []byte) []byte {
	b := ev.Block
	if b == nil {
		return appendTimes(dst, ev.TsMs)
	}
	if b.times == nil || b.tsMs != ev.TsMs {
		b.times, b.tsMs = appendTimes(b.times[:0], ev.TsMs), ev.TsMs
	}
	return append(dst, b.times...)
}

func appendTimes(dst []byte, tsMs int64) []byte {
	dst = appendLong(append(dst, branch1), tsMs)
	dst = appendLong(append(dst, branch1), tsMs*1_000)
	return appendLong(append(dst, branch1), tsMs*1_000_000)
}
