package kafka

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// maxTopicName is Kafka's limit on the length of a topic's name.
const maxTopicName = 249

// maxPrefix leaves room for a database and a table that are shortened to their hashes.
const maxPrefix = 64

// ValidatePrefix checks a source's name, which is the prefix of its topics and of its transactional ids. It holds no
// dot: with one, the topics of two sources could have the same name (a.b + checkpoint, a + table b.checkpoint).
func ValidatePrefix(prefix string) error {
	if prefix == "" || len(prefix) > maxPrefix {
		return fmt.Errorf("name %q: want 1 to %d characters", prefix, maxPrefix)
	}
	for i := 0; i < len(prefix); i++ {
		if !plainByte(prefix[i]) && prefix[i] != '-' {
			return fmt.Errorf("name %q: want only letters, digits, _ and -", prefix)
		}
	}
	return nil
}

// CheckpointTopic is the topic of the source's progress.
func CheckpointTopic(prefix string) string { return prefix + ".checkpoint" }

// SignalTopic is the topic of commands to the source.
func SignalTopic(prefix string) string { return prefix + ".signal" }

// StatusTopic is the topic that says who is alive and how far.
func StatusTopic(prefix string) string { return prefix + ".status" }

// TransactionTopic is the topic of transaction boundaries, where it is asked for.
func TransactionTopic(prefix string) string { return prefix + ".transaction" }

// DeadTopic is the topic of a consumer group's dead letters.
func DeadTopic(group string) string { return group + ".dead" }

// TopicName returns the topic of a table: <prefix>.<db>.<table>.
//
// Kafka allows letters, digits, '.', '_' and '-'. In the database's and the table's name letters, digits and '_'
// stand for themselves; every other byte of the UTF-8 name, '.' and '-' too, is written as '-' and two upper-case
// hex digits. So two tables never share a topic, and TableOf finds the way back. A name that comes out longer
// than Kafka's 249 characters keeps the start of each part, '-x' and 32 hex digits of the SHA-256 of the part's
// name; from that there is no way back, and the table's name stands in the checkpoint and in every event.
func TopicName(prefix string, t change.TableName) string {
	name := prefix + "." + escape(t.DB) + "." + escape(t.Name)
	if len(name) <= maxTopicName {
		return name
	}
	room := (maxTopicName - len(prefix) - 2) / 2
	return prefix + "." + shorten(t.DB, room) + "." + shorten(t.Name, room)
}

// TableOf returns the table whose topic has that name under the prefix, or false where the topic is none of its
// tables' or the name was too long to be kept whole.
func TableOf(prefix, topic string) (change.TableName, bool) {
	rest, ok := strings.CutPrefix(topic, prefix+".")
	if !ok {
		return change.TableName{}, false
	}
	db, name, ok := strings.Cut(rest, ".")
	if !ok {
		return change.TableName{}, false
	}
	t, err := parseEscaped(db, name)
	return t, err == nil
}

// tableText is a table's name as one text from which the two parts can be told again, as checkpoint keys use it.
func tableText(t change.TableName) string { return escape(t.DB) + "." + escape(t.Name) }

func parseTableText(s string) (change.TableName, error) {
	db, name, ok := strings.Cut(s, ".")
	if !ok {
		return change.TableName{}, fmt.Errorf("%q is not db.table", s)
	}
	return parseEscaped(db, name)
}

func parseEscaped(db, name string) (change.TableName, error) {
	d, err := unescape(db)
	if err != nil {
		return change.TableName{}, err
	}
	n, err := unescape(name)
	if err != nil {
		return change.TableName{}, err
	}
	return change.TableName{DB: d, Name: n}, nil
}

func plainByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

const upperHex = "0123456789ABCDEF"

func escape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; plainByte(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'-', upperHex[c>>4], upperHex[c&15]})
		}
	}
	return b.String()
}

func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case plainByte(c):
			b.WriteByte(c)
		case c == '-' && i+2 < len(s):
			hi, lo := strings.IndexByte(upperHex, s[i+1]), strings.IndexByte(upperHex, s[i+2])
			if hi < 0 || lo < 0 {
				return "", fmt.Errorf("%q: bad escape at %d", s, i)
			}
			b.WriteByte(byte(hi<<4 | lo))
			i += 2
		default:
			return "", fmt.Errorf("%q: character %q at %d", s, c, i)
		}
	}
	if b.Len() == 0 {
		return "", fmt.Errorf("an empty name")
	}
	return b.String(), nil
}

// shorten returns the escaped name where it fits into room bytes, else its start and a hash. An 'x' follows no
// '-' in an escaped name, so the two kinds never meet.
func shorten(s string, room int) string {
	e := escape(s)
	if len(e) <= room {
		return e
	}
	sum := sha256.Sum256([]byte(s))
	return e[:room-34] + "-x" + hex.EncodeToString(sum[:16])
}
