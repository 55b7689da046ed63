package crawl

import (
	"bytes"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// fraction guesses a value that lies part eighths of the way from low to high, all three as asked(c) gives
// them. It is a guess only: the server is asked for the key that is really next to it, and what it answers
// is taken only if the server says that it lies between. So a collation that sorts otherwise than bytes do
// costs balance and nothing else. It returns false where there is no guess.
func fraction(c *change.Column, low, high []byte, eighths int64) ([]byte, bool) {
	switch {
	case c.Type.Integer(), c.Type == change.Year, numbered(c):
		return fractionNumber(low, high, 0, eighths)
	case c.Type == change.Decimal:
		return fractionNumber(low, high, c.Scale, eighths)
	case c.Type == change.Time:
		return fractionTime(low, high, c.Scale, eighths)
	case c.Type == change.Date, c.Type == change.DateTime, c.Type == change.Timestamp:
		return fractionDate(c, low, high, eighths)
	case c.Type.Opaque():
		return fractionBytes(low, high, eighths)
	case c.Type.Character():
		return fractionText(c.Charset, low, high, eighths)
	}
	return nil, false
}

// part returns low + (high - low) * eighths / 8.
func part(low, high *big.Int, eighths int64) *big.Int {
	d := new(big.Int).Sub(high, low)
	d.Mul(d, big.NewInt(eighths))
	return d.Add(d.Rsh(d, 3), low)
}

func fractionNumber(low, high []byte, scale int, eighths int64) ([]byte, bool) {
	l, okLow := new(big.Int).SetString(strings.Replace(string(low), ".", "", 1), 10)
	h, okHigh := new(big.Int).SetString(strings.Replace(string(high), ".", "", 1), 10)
	if !okLow || !okHigh {
		return nil, false
	}
	return decimalText(part(l, h, eighths), scale), true
}

func decimalText(n *big.Int, scale int) []byte {
	if scale == 0 {
		return n.Append(nil, 10)
	}
	digits := new(big.Int).Abs(n).String()
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale+1-len(digits)) + digits
	}
	text := digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	if n.Sign() < 0 {
		text = "-" + text
	}
	return []byte(text)
}

// fractionTime works on "[-]HHH:MM:SS[.ffffff]" in microseconds.
func fractionTime(low, high []byte, scale int, eighths int64) ([]byte, bool) {
	l, okLow := timeMicros(low)
	h, okHigh := timeMicros(high)
	if !okLow || !okHigh {
		return nil, false
	}
	n := part(big.NewInt(l), big.NewInt(h), eighths).Int64()
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	seconds := n / 1e6
	text := fmt.Sprintf("%s%02d:%02d:%02d", sign, seconds/3600, seconds/60%60, seconds%60)
	if scale > 0 {
		text += fmt.Sprintf(".%06d", n%1e6)[:scale+1]
	}
	return []byte(text), true
}

func timeMicros(text []byte) (int64, bool) {
	s, negative := strings.CutPrefix(string(text), "-")
	s, fraction, _ := strings.Cut(s, ".")
	var hours, minutes, seconds, micros int64
	if _, err := fmt.Sscanf(s, "%d:%d:%d", &hours, &minutes, &seconds); err != nil {
		return 0, false
	}
	if fraction != "" {
		if _, err := fmt.Sscanf((fraction + "000000")[:6], "%d", &micros); err != nil {
			return 0, false
		}
	}
	n := ((hours*60+minutes)*60+seconds)*1e6 + micros
	if negative {
		n = -n
	}
	return n, true
}

const (
	dateLayout     = "2006-01-02"
	dateTimeLayout = "2006-01-02 15:04:05.999999"
)

// fractionDate works on dates and times; zero and partly zero dates stand for the earliest that there is.
func fractionDate(c *change.Column, low, high []byte, eighths int64) ([]byte, bool) {
	earliest := time.Date(1000, 1, 1, 0, 0, 0, 0, time.UTC)
	if c.Type == change.Timestamp {
		earliest = time.Unix(1, 0).UTC()
	}
	l, h := parseDate(low, earliest), parseDate(high, earliest)
	if !l.Before(h) {
		return nil, false
	}
	micros := part(big.NewInt(l.UnixMicro()), big.NewInt(h.UnixMicro()), eighths).Int64()
	middle := time.UnixMicro(micros).UTC()
	if c.Type == change.Date {
		return []byte(middle.Format(dateLayout)), true
	}
	layout := "2006-01-02 15:04:05"
	if c.Scale > 0 {
		layout += "." + strings.Repeat("0", c.Scale)
	}
	return []byte(middle.Format(layout)), true
}

func parseDate(text []byte, otherwise time.Time) time.Time {
	for _, layout := range [...]string{dateTimeLayout, dateLayout} {
		if t, err := time.Parse(layout, string(text)); err == nil && t.After(otherwise) {
			return t
		}
	}
	return otherwise
}

// guessed is how many bytes or characters after the common beginning a guess has.
const guessed = 6

func fractionBytes(low, high []byte, eighths int64) ([]byte, bool) {
	common := commonPrefix(low, high)
	digits := func(b []byte) *big.Int {
		var padded [guessed]byte
		copy(padded[:], b[common:])
		return new(big.Int).SetBytes(padded[:])
	}
	l, h := digits(low), digits(high)
	if l.Cmp(h) >= 0 {
		return nil, false
	}
	var middle [guessed]byte
	part(l, h, eighths).FillBytes(middle[:])
	return append(bytes.Clone(low[:common]), middle[:]...), true
}

// fractionText guesses a text of digits and letters after the common beginning: what most keys are made of,
// valid in every charset that holds ASCII as it is, and in the order that nearly all collations have. Letters
// are small ones unless the ends have capitals only, which matters to binary collations.
func fractionText(charset string, low, high []byte, eighths int64) ([]byte, bool) {
	switch charset {
	case "ucs2", "utf16", "utf16le", "utf32":
		return nil, false
	}
	common := commonPrefix(low, high)
	for common > 0 && low[common-1] >= 0x80 { // never half a character
		common--
	}
	alphabet := "0123456789abcdefghijklmnopqrstuvwxyz"
	if ends := string(low[common:]) + string(high[common:]); ends == strings.ToUpper(ends) && ends != strings.ToLower(ends) {
		alphabet = strings.ToUpper(alphabet)
	}
	base := big.NewInt(int64(len(alphabet)))
	digits := func(b []byte) *big.Int {
		n := new(big.Int)
		for i := range guessed {
			d := int64(0)
			if common+i < len(b) {
				d = letter(b[common+i])
			}
			n.Add(n.Mul(n, base), big.NewInt(d))
		}
		return n
	}
	l, h := digits(low), digits(high)
	if l.Cmp(h) == 0 {
		return nil, false
	}
	middle := part(l, h, eighths)
	text := append(bytes.Clone(low[:common]), make([]byte, guessed)...)
	for i := guessed - 1; i >= 0; i-- {
		d := new(big.Int)
		middle.DivMod(middle, base, d)
		text[common+i] = alphabet[d.Int64()]
	}
	return text, true
}

// letter returns the place of a byte among the digits and letters; what is neither counts as the nearest.
func letter(b byte) int64 {
	switch {
	case b < '0':
		return 0
	case b <= '9':
		return int64(b - '0')
	case b < 'A':
		return 9
	case b <= 'Z':
		return 10 + int64(b-'A')
	case b < 'a':
		return 35
	case b <= 'z':
		return 10 + int64(b-'a')
	}
	return 35
}

func commonPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
