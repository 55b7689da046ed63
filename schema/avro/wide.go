package avro

import (
	"errors"
	"fmt"
	"math/bits"
)

// wide is a number of up to 256 bits, low word first: a DECIMAL of 65 digits without sign and point has 216.
type wide [4]uint64

// limbsOf returns how many words of a wide the numbers of that many digits need: 19 digits fit one.
func limbsOf(digits int) int { return min(len(wide{}), digits*3322/1000/64+1) }

// mulAdd makes w*m + a, of the lowest limbs words.
func (w *wide) mulAdd(limbs int, m, a uint64) {
	for i := range w[:limbs] {
		hi, lo := bits.Mul64(w[i], m)
		var carry uint64
		w[i], carry = bits.Add64(lo, a, 0)
		a = hi + carry
	}
}

// divMod makes w/d and returns the remainder.
func (w *wide) divMod(d uint64) (remainder uint64) {
	top := len(w) - 1
	for top > 0 && w[top] == 0 {
		top--
	}
	for i := top; i >= 0; i-- {
		w[i], remainder = bits.Div64(remainder, w[i], d)
	}
	return remainder
}

func (w *wide) isZero() bool { return w[0]|w[1]|w[2]|w[3] == 0 }

func (w *wide) negate() {
	carry := uint64(1)
	for i := range w {
		w[i], carry = bits.Add64(^w[i], 0, carry)
	}
}

// decimal is an unscaled DECIMAL.
type decimal struct {
	wide
	negative bool
}

var powersOf10 = [20]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

// leftoverBytes is how many bytes the row image takes for a group of that many digits.
var leftoverBytes = [10]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}

// setImage reads the row image's form: groups of nine digits in four bytes big-endian, fewer digits in fewer bytes
// at both ends, the first bit inverted, all bits inverted when negative.
func (d *decimal) setImage(data []byte, precision, scale, limbs int) error {
	whole := precision - scale
	if whole < 0 || scale < 0 || len(data) == 0 ||
		len(data) != whole/9*4+leftoverBytes[whole%9]+scale/9*4+leftoverBytes[scale%9] {
		return fmt.Errorf("DECIMAL(%d,%d) of %d bytes", precision, scale, len(data))
	}
	*d = decimal{negative: data[0]&0x80 == 0}
	invert := uint64(0)
	if d.negative {
		invert = ^uint64(0)
	}
	flip := uint64(0x80) // of the first byte
	group := func(digits int) bool {
		if digits == 0 {
			return true
		}
		n, size := uint64(0), leftoverBytes[digits]
		for _, b := range data[:size] {
			n = n<<8 | (uint64(b)^flip^invert)&0xff
			flip = 0
		}
		data = data[size:]
		d.mulAdd(limbs, powersOf10[digits], n)
		return n < powersOf10[digits]
	}
	ok := group(whole % 9)
	for range whole / 9 {
		ok = group(9) && ok
	}
	for range scale / 9 {
		ok = group(9) && ok
	}
	if ok = group(scale%9) && ok; !ok {
		return errors.New("DECIMAL with a group of more than nine digits")
	}
	return nil
}

var errDecimalText = errors.New("DECIMAL text that is no number of the column's digits")

// setText reads the server's text; leading zeros (ZEROFILL) are allowed.
func (d *decimal) setText(text []byte, precision, scale, limbs int) error {
	*d = decimal{}
	if len(text) > 0 && (text[0] == '-' || text[0] == '+') {
		d.negative = text[0] == '-'
		text = text[1:]
	}
	if len(text) == 0 {
		return errDecimalText
	}
	for len(text) > 1 && text[0] == '0' && text[1] != '.' {
		text = text[1:]
	}
	var chunk uint64
	inChunk, digits, fraction, point := 0, 0, 0, false
	for _, c := range text {
		if c == '.' && !point {
			point = true
			continue
		}
		if c -= '0'; c > 9 {
			return errDecimalText
		}
		if point {
			fraction++
		}
		if digits > 0 || c > 0 {
			digits++
		}
		chunk = chunk*10 + uint64(c)
		if inChunk++; inChunk == 18 {
			if digits > precision {
				return errDecimalText
			}
			d.mulAdd(limbs, powersOf10[18], chunk)
			chunk, inChunk = 0, 0
		}
	}
	d.mulAdd(limbs, powersOf10[inChunk], chunk)
	for ; fraction < scale; fraction++ {
		d.mulAdd(limbs, 10, 0)
		digits++
	}
	if fraction > scale || digits > precision {
		return errDecimalText
	}
	return nil
}

// appendBytes appends the two's complement, big-endian, in as few bytes as can be (Java's BigInteger.toByteArray),
// with the length in front.
func (d *decimal) appendBytes(dst []byte) []byte {
	w := d.wide
	if d.negative {
		w.negate()
	}
	if n := int64(w[0]); w[1] == w[2] && w[2] == w[3] && w[1] == uint64(n>>63) { // the usual: it fits a word
		return appendInteger(dst, n)
	}
	var b [32]byte
	for i := range b {
		b[i] = byte(w[3-i/8] >> (56 - i%8*8))
	}
	start := 0
	for start < len(b)-1 && (b[start] == 0 && b[start+1] < 0x80 || b[start] == 0xff && b[start+1] >= 0x80) {
		start++
	}
	return appendBytes(dst, b[start:])
}

// appendInteger appends n as appendBytes does.
func appendInteger(dst []byte, n int64) []byte {
	size := 1
	for n>>(8*size-1) != n>>63 {
		size++
	}
	dst = append(dst, byte(2*size))
	for i := size - 1; i >= 0; i-- {
		dst = append(dst, byte(n>>(8*i)))
	}
	return dst
}

// appendUnsigned appends n as appendBytes does.
func appendUnsigned(dst []byte, n uint64) []byte {
	if int64(n) >= 0 {
		return appendInteger(dst, int64(n))
	}
	dst = append(dst, 2*9, 0)
	for i := 56; i >= 0; i -= 8 {
		dst = append(dst, byte(n>>i))
	}
	return dst
}

// setBytes reads a two's complement.
func (d *decimal) setBytes(b []byte) error {
	if len(b) == 0 || len(b) > 32 {
		return fmt.Errorf("a decimal of %d bytes", len(b))
	}
	*d = decimal{negative: b[0]&0x80 != 0}
	if d.negative {
		d.wide = wide{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	}
	for i, c := range b {
		at := len(b) - 1 - i
		shift := 8 * (at % 8)
		d.wide[at/8] = d.wide[at/8]&^(0xff<<shift) | uint64(c)<<shift
	}
	if d.negative {
		d.negate()
	}
	return nil
}

// appendText appends the number as the server prints it, with exactly scale digits after the point.
func (d *decimal) appendText(dst []byte, precision, scale int) ([]byte, error) {
	const digitsMax = 78 // of 256 bits
	var digits [digitsMax]byte
	n, w := digitsMax, d.wide
	for !w.isZero() || digitsMax-n <= scale { // at least one digit before the point
		chunk := w.divMod(1e19)
		for range 19 {
			if n == 0 || chunk == 0 && digitsMax-n > scale && w.isZero() {
				break
			}
			n--
			digits[n] = byte('0' + chunk%10)
			chunk /= 10
		}
	}
	for n < digitsMax-scale-1 && digits[n] == '0' {
		n++
	}
	if digitsMax-n > max(precision, scale+1) || precision == scale && digits[digitsMax-scale-1] != '0' {
		return dst, errors.New("a decimal with more digits than its column")
	}
	if d.negative && !d.wide.isZero() {
		dst = append(dst, '-')
	}
	dst = append(dst, digits[n:digitsMax-scale]...)
	if scale > 0 {
		dst = append(append(dst, '.'), digits[digitsMax-scale:]...)
	}
	return dst, nil
}
