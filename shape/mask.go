package shape

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
)

// hashDigits is how long a hash is as text.
const hashDigits = 2 * sha256.Size

// hashedColumn and maskedColumn return the column as it is when its values are hidden.
func hashedColumn(c change.Column) change.Column {
	return change.Column{Name: c.Name, Nullable: c.Nullable, Type: change.VarChar, Length: hashDigits, Charset: madeCharset, Collation: madeCollation}
}

func maskedColumn(c change.Column, m *Mask) (change.Column, error) {
	if !c.Type.Character() {
		if m.KeepLast > 0 && (c.Type.Opaque() || c.Type == change.JSON || c.Type == change.Geometry || c.Type == change.Vector || c.Type == change.Bit) {
			return c, fmt.Errorf("keep_last is for text and numbers, column %s is %s: want mask: {text: ...}", c.Name, c.Type)
		}
		c = change.Column{Name: c.Name, Nullable: c.Nullable, Type: change.VarChar, Length: 255, Charset: madeCharset, Collation: madeCollation}
	}
	if c.Length > 0 && utf8.RuneCountInString(m.Text) > c.Length {
		return c, fmt.Errorf("the mask's text has more than the %d characters of column %s", c.Length, c.Name)
	}
	return c, nil
}

// hide returns what masks a value's text.
func (m *Mask) hide(v change.Value) (change.Value, error) {
	if m.Text != "" {
		return change.StringValue(m.Text), nil
	}
	text := v.Append(nil)
	hidden := max(0, utf8.RuneCount(text)-m.KeepLast)
	rest := text
	for range hidden {
		_, size := utf8.DecodeRune(rest)
		rest = rest[size:]
	}
	if hidden == 0 { // nothing would be hidden of a text this short: all of it is
		return change.StringValue(strings.Repeat("*", utf8.RuneCount(text))), nil
	}
	return change.StringValue(strings.Repeat("*", hidden) + string(rest)), nil
}

// Fingerprint tells one secret from another without telling it.
func (h *Hash) Fingerprint() string {
	sum := sha256.Sum256([]byte("sluice\x00" + string(h.Salt) + "\x00" + string(h.Key)))
	return hex.EncodeToString(sum[:8])
}

// hide returns the hash of a value's text.
func (h *Hash) hide(v change.Value) (change.Value, error) {
	var room [200]byte // most texts are shorter
	var sum []byte
	if h.Key != "" {
		mac := hmac.New(sha256.New, []byte(h.Key))
		mac.Write(v.Append(room[:0]))
		sum = mac.Sum(nil)
	} else {
		salted := sha256.Sum256(v.Append(append(room[:0], h.Salt...)))
		sum = salted[:]
	}
	return change.Value{Kind: change.Str, Bytes: hex.AppendEncode(make([]byte, 0, hashDigits), sum)}, nil
}
