package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
)

// pack makes the contents of tables.bin, whose form package charset describes (table.go and decodeMap).
func pack(maps map[string][]entry) []byte {
	var index, streams []byte
	for _, name := range sorted(maps) {
		stream := compress(encodeMap(maps[name]))
		index = append(append(index, byte(len(name))), name...)
		index = binary.BigEndian.AppendUint32(index, uint32(len(stream)))
		streams = append(streams, stream...)
	}
	return append(append(index, 0), streams...)
}

func encodeMap(entries []entry) []byte {
	var out []byte
	var code uint32
	next := rune(0)
	for _, e := range entries {
		delta := uint64(e.code-code) << 1
		if !e.back {
			delta |= 1
		}
		out = binary.AppendUvarint(out, delta)
		out = binary.AppendVarint(out, int64(e.r-next))
		code, next = e.code, e.r+1
	}
	return out
}

func compress(data []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	w.Write(data) // into memory: no error
	w.Close()
	return out.Bytes()
}
