package rowimage

import (
	"fmt"
	"strconv"
)

// A DECIMAL is stored in groups of nine digits, 4 bytes big-endian each; the digits left over before the
// first and after the last whole group take as few bytes as they need. The first bit is inverted; a negative
// number has all bits inverted. (strings/decimal.c of the server.)

const (
	digitsAGroup = 9
	bytesAGroup  = 4
)

// leftoverBytes is how many bytes so many digits take, when they are no whole group.
var leftoverBytes = [digitsAGroup + 1]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}

// decimalSize is the number of bytes of a DECIMAL(precision, scale).
func decimalSize(precision, scale int) (int, error) {
	const precisionMax, scaleMax = 65, 38 // MariaDB allows 38 digits after the point, MySQL 30
	if precision < 1 || precision > precisionMax || scale < 0 || scale > scaleMax || scale > precision {
		return 0, fmt.Errorf("DECIMAL(%d,%d) cannot be", precision, scale)
	}
	whole := precision - scale
	return whole/digitsAGroup*bytesAGroup + leftoverBytes[whole%digitsAGroup] +
		scale/digitsAGroup*bytesAGroup + leftoverBytes[scale%digitsAGroup], nil
}

// AppendDecimal appends the text of a DECIMAL(precision, scale) as the server prints it: "-12.340".
func AppendDecimal(dst, data []byte, precision, scale int) ([]byte, error) {
	size, err := decimalSize(precision, scale)
	if err != nil {
		return dst, err
	}
	if len(data) != size {
		return dst, fmt.Errorf("DECIMAL(%d,%d) of %d bytes, not %d", precision, scale, len(data), size)
	}
	d := decimalReader{data: data, invert: 0xff}
	if data[0]&0x80 != 0 {
		d.invert = 0
	}
	start := len(dst)
	if d.invert != 0 {
		dst = append(dst, '-')
	}
	whole := precision - scale
	begin := len(dst)
	if left := whole % digitsAGroup; left > 0 {
		dst = appendSignificant(dst, begin, d.group(left), left)
	}
	for range whole / digitsAGroup {
		dst = appendSignificant(dst, begin, d.group(digitsAGroup), digitsAGroup)
	}
	if len(dst) == begin {
		dst = append(dst, '0')
	}
	if scale > 0 {
		dst = append(dst, '.')
		for range scale / digitsAGroup {
			dst = appendDigits(dst, d.group(digitsAGroup), digitsAGroup)
		}
		if left := scale % digitsAGroup; left > 0 {
			dst = appendDigits(dst, d.group(left), left)
		}
	}
	if d.overflow {
		return dst[:start], fmt.Errorf("DECIMAL(%d,%d): a group of digits is too large", precision, scale)
	}
	return dst, nil
}

// decimalReader takes groups off a DECIMAL.
type decimalReader struct {
	data     []byte
	at       int
	invert   byte
	overflow bool
}

// group reads the next group of that many digits.
func (d *decimalReader) group(digits int) uint32 {
	var n uint32
	for range leftoverBytes[digits] {
		c := d.data[d.at] ^ d.invert
		if d.at == 0 {
			c ^= 0x80
		}
		n = n<<8 | uint32(c)
		d.at++
	}
	d.overflow = d.overflow || n >= powersOf10[digits]
	return n
}

// powersOf10 are the first numbers with one digit more.
var powersOf10 = [digitsAGroup + 1]uint32{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

// appendSignificant appends a group before the point: without leading zeros while nothing stands after begin.
func appendSignificant(dst []byte, begin int, group uint32, digits int) []byte {
	if len(dst) > begin {
		return appendDigits(dst, group, digits)
	}
	if group == 0 {
		return dst
	}
	return strconv.AppendUint(dst, uint64(group), 10)
}

// appendDigits appends the group with all its digits, nine at most.
func appendDigits(dst []byte, group uint32, digits int) []byte {
	begin := len(dst)
	dst = append(dst, "000000000"[:digits]...)
	for i := len(dst) - 1; i >= begin; i-- {
		dst[i] = byte('0' + group%10)
		group /= 10
	}
	return dst
}
