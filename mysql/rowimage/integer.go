package rowimage

import (
	"encoding/binary"
	"math"
)

// Int reads a signed integer column of 1, 2, 3, 4 or 8 bytes.
func Int(data []byte) int64 {
	switch len(data) {
	case 1:
		return int64(int8(data[0]))
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(data)))
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(data)))
	case 8:
		return int64(binary.LittleEndian.Uint64(data))
	}
	unused := 64 - 8*len(data)
	return int64(littleEndian(data)) << unused >> unused
}

// Uint reads an unsigned integer column of up to 8 bytes, an ENUM's index (from 1; 0 is the empty string that
// stands for a refused value) or a SET's bits (the first name is the lowest).
func Uint(data []byte) uint64 {
	switch len(data) {
	case 1:
		return uint64(data[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(data))
	case 4:
		return uint64(binary.LittleEndian.Uint32(data))
	case 8:
		return binary.LittleEndian.Uint64(data)
	}
	return littleEndian(data)
}

// Year reads a YEAR column: 0, or 1901 to 2155.
func Year(data []byte) int64 {
	const yearZero = 1900
	if n := Uint(data); n != 0 {
		return int64(n) + yearZero
	}
	return 0
}

// Float32 reads a FLOAT column; data must have 4 bytes, as Image's cells of FLOAT do.
func Float32(data []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(data)) }

// Float64 reads a DOUBLE column; data must have 8 bytes, as Image's cells of DOUBLE do.
func Float64(data []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(data)) }
