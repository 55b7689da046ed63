package binlog

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sluice-cdc/sluice/mysql/charset"
	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// query is a statement that was logged.
type query struct {
	text        string // in UTF-8, unless it is not valid in the session's charset
	db          string // the session's default database
	thread      uint32
	noBackslash bool // the session had NO_BACKSLASH_ESCAPES
}

// parseQuery reads QUERY_EVENT: thread 4, duration 4, length of the database's name 1, error 2, length of the
// status variables 2; then those, the name with a zero, and the text to the end.
func parseQuery(body []byte, compressed bool, flavor gtid.Flavor) (query, error) {
	c := cursor{rest: body}
	thread := uint32(c.number(4))
	c.take(4)
	nameLength := int(c.number(1))
	c.take(2)
	variables := c.take(int(c.number(2)))
	db := c.take(nameLength)
	c.take(1)
	if err := c.err(); err != nil {
		return query{}, fmt.Errorf("read query event: %w", err)
	}
	text := c.rest
	if compressed {
		var err error
		if text, err = uncompress(text); err != nil {
			return query{}, fmt.Errorf("read compressed query event: %w", err)
		}
	}
	mode, collation := parseSettings(variables)
	return query{
		text: toUTF8(text, collation, flavor), db: string(db), thread: thread, noBackslash: mode&modeNoBackslash != 0,
	}, nil
}

const modeNoBackslash = 1 << 20

// parseSettings reads the sql_mode and the client's collation from a query's status variables: code 1, value.
// The two stand near the front, behind variables of known length; what comes later does not matter.
func parseSettings(variables []byte) (mode uint64, collation uint16) {
	const flags, sqlMode, oldCatalog, autoIncrement, clientCharset, catalog = 0, 1, 2, 3, 4, 6
	c := cursor{rest: variables}
	for len(c.rest) > 0 {
		switch c.number(1) {
		case flags, autoIncrement:
			c.take(4)
		case sqlMode:
			mode = c.number(8)
		case oldCatalog:
			c.take(int(c.number(1)) + 1)
		case catalog:
			c.take(int(c.number(1)))
		case clientCharset:
			return mode, uint16(c.number(2))
		default:
			return mode, 0
		}
	}
	return mode, 0
}

// toUTF8 converts a statement from the charset in which the client sent it: in GBK and its like, bytes of
// characters look like backslashes and backquotes.
func toUTF8(text []byte, collation uint16, flavor gtid.Flavor) string {
	if _, name, ok := charset.CollationByID(flavor, uint32(collation)); ok && collation != 0 {
		if from, ok := charset.Lookup(name); ok {
			if converted, err := from.AppendUTF8(nil, text); err == nil {
				return string(converted)
			}
		}
	}
	return string(text)
}

// uncompress reads MariaDB's compressed form: a byte with 1 in its top bit, the algorithm (0 is zlib) in the
// next three and the length of the length in the low three; the length, big-endian; the data.
func uncompress(data []byte) ([]byte, error) {
	if len(data) == 0 || data[0]&0xf0 != 0x80 {
		return nil, errors.New("the compression is not known")
	}
	n := int(data[0] & 0x07)
	if n < 1 || n > 4 || len(data) < 1+n {
		return nil, errTruncated
	}
	var length [4]byte
	copy(length[4-n:], data[1:1+n])
	z, err := zlib.NewReader(bytes.NewReader(data[1+n:]))
	if err != nil {
		return nil, err
	}
	// What the header promises is not believed before it is there: a damaged length must not take all memory.
	var text bytes.Buffer
	size := int64(binary.BigEndian.Uint32(length[:]))
	if written, err := io.Copy(&text, io.LimitReader(z, size)); err != nil {
		return nil, err
	} else if written != size {
		return nil, errTruncated
	}
	return text.Bytes(), nil
}

// verb is the kind of statement that ends, begins or shapes a transaction.
type verb uint8

const (
	verbOther verb = iota
	verbBegin
	verbCommit
	verbRollback
	verbRollbackTo
	verbSavepoint
	verbXAStart
	verbXAEnd
	verbXACommit
	verbXARollback
	verbXAPrepare
)

// transactionVerb recognises what servers write themselves into the binlog; they spell it in one way only.
func transactionVerb(text string) (v verb, rest string) {
	for _, known := range [...]struct {
		prefix string
		verb   verb
	}{
		{"XA START ", verbXAStart}, {"XA END ", verbXAEnd}, {"XA PREPARE ", verbXAPrepare},
		{"XA COMMIT ", verbXACommit}, {"XA ROLLBACK ", verbXARollback},
		{"SAVEPOINT ", verbSavepoint}, {"RELEASE SAVEPOINT ", verbSavepoint}, {"ROLLBACK TO ", verbRollbackTo},
	} {
		if len(text) > len(known.prefix) && strings.EqualFold(text[:len(known.prefix)], known.prefix) {
			return known.verb, strings.TrimSpace(text[len(known.prefix):])
		}
	}
	switch {
	case strings.EqualFold(text, "BEGIN"):
		return verbBegin, ""
	case strings.EqualFold(text, "COMMIT"):
		return verbCommit, ""
	case strings.EqualFold(text, "ROLLBACK"):
		return verbRollback, ""
	}
	return verbOther, ""
}

// formatXID spells an XA transaction's id as the servers do in the binlog.
func formatXID(format uint32, global, branch []byte) string {
	return fmt.Sprintf("X'%x',X'%x',%d", global, branch, format)
}

// parseXAPrepare reads XA_PREPARE_LOG_EVENT: one phase 1, format id 4, lengths of gtrid and bqual 4 each, both.
func parseXAPrepare(body []byte) (xid string, onePhase bool, err error) {
	c := cursor{rest: body}
	onePhase = c.number(1) != 0
	format := uint32(c.number(4))
	globalLength, branchLength := int(int32(c.number(4))), int(int32(c.number(4)))
	global := c.take(globalLength)
	branch := c.take(branchLength)
	if err := c.err(); err != nil {
		return "", false, fmt.Errorf("read XA prepare event: %w", err)
	}
	return formatXID(format, global, branch), onePhase, nil
}
