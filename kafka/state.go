package kafka

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// stateFormat is the version of the JSON that this program writes into the checkpoint and understands.
const stateFormat = 1

// State is one record of the checkpoint: a value that is kept under a key, the newest counts.
type State interface {
	// CheckpointKey is the record's key: the kind, and the name of the thing where there are many.
	CheckpointKey() string
}

// PositionState says up to where the server's history is published.
type PositionState struct {
	// GTID is the exact set of transactions that are published whole, or left out on purpose; empty where the
	// server has none. A transaction in progress is not in it, open XA PREPAREs are.
	GTID string `json:"gtid,omitempty"`
	// GTIDs says that the server had them, so that an empty set is one: without them File and Offset alone say how far.
	GTIDs bool `json:"gtids,omitempty"`
	// File and Offset stand after the last event that was taken in; Offset is Sluice's 64-bit sum.
	File   string `json:"file"`
	Offset uint64 `json:"offset"`
	// InTransaction holds the transactions that are published in part: the one that the last event was inside of,
	// and, after a failover to a replica with another commit order, one that has not come again yet.
	InTransaction []InTransaction `json:"in_transaction,omitempty"`
	// Version is the greatest version given so far.
	Version change.Version `json:"version"`
	Server  ServerIdentity `json:"server"`
	// Millis is the source's clock when this was written, milliseconds since 1970 UTC; for people.
	Millis int64 `json:"written_ms,omitempty"`
}

// InTransaction is progress inside a transaction: all raw rows below Row are published or were filtered.
type InTransaction struct {
	GTID string `json:"gtid,omitempty"` // of the transaction; empty without GTIDs
	// File and Offset stand where the transaction begins: without GTIDs that is where reading resumes.
	File   string `json:"file"`
	Offset uint64 `json:"offset"`
	// Row is the raw row index over all tables before any filter, and Checksum covers the rows below it. When it
	// comes out otherwise on the next reading, the rows skipped are not the rows published.
	Row      int64  `json:"row"`
	Checksum uint64 `json:"checksum"`
	// Tables are those with rows below Row: they are crawled when the checksum differs.
	Tables []change.TableName `json:"tables,omitempty"`
}

// ServerIdentity is what tells one database server from another.
type ServerIdentity struct {
	UUID     string `json:"uuid,omitempty"`
	ServerID uint32 `json:"server_id,omitempty"`
	Flavor   string `json:"flavor"`
	Version  string `json:"version,omitempty"`
	Address  string `json:"address,omitempty"`
}

// TableState is what is known of one table's topic.
type TableState struct {
	Table change.TableName `json:"table"`
	Topic string           `json:"topic"`
	// TopicID and Partitions are pinned: another topic of the same name, or more partitions, would break the
	// order of keys without an error from Kafka.
	TopicID       TopicID `json:"topic_id"`
	Partitions    int32   `json:"partitions"`
	KeySchemaID   int     `json:"key_schema_id"`
	ValueSchemaID int     `json:"value_schema_id"`
	// Key holds the key's column names.
	Key []string `json:"key,omitempty"`
	// Crawled is set when every row that existed has been read once.
	Crawled bool `json:"crawled"`
	// Fresh is set while the topic, which was made for the table, has rows of nothing but the stream and the table's first
	// crawl: a row that this crawl reads stands nowhere else yet.
	Fresh bool `json:"fresh,omitempty"`
	// Left is set while the config does not capture the table: what it misses is crawled when it is captured again.
	Left bool `json:"left,omitempty"`
	// Shape names what the config let out of the table when its rows were last read: when it lets out something else, they are read anew.
	Shape   string   `json:"shape,omitempty"`
	Stopped *Stopped `json:"stopped,omitempty"`
}

// Stopped says why a table is no longer published, and where that began.
type Stopped struct {
	Reason   string          `json:"reason"`
	Why      string          `json:"why,omitempty"`
	Position change.Position `json:"position"`
	Version  change.Version  `json:"version"`
	Mend     string          `json:"mend,omitempty"`
	Millis   int64           `json:"since_ms,omitempty"`
}

// CrawlState is a crawl and how far it is.
type CrawlState struct {
	ID    string           `json:"id"`
	Table change.TableName `json:"table"`
	Where string           `json:"where,omitempty"`
	Keys  string           `json:"keys,omitempty"` // named keys: a list as the signal gave it
	// Ranges are the table's key ranges. A range's bounds are SQL literals, one for each key column.
	Ranges   []CrawlRange   `json:"ranges,omitempty"`
	Rows     int64          `json:"rows"`     // published so far
	Estimate int64          `json:"estimate"` // by the server's statistics
	Started  change.Version `json:"started"`  // rows put before it are of the time before the crawl
	Millis   int64          `json:"started_ms,omitempty"`
	State    string         `json:"state"` // planning, running, waiting, done, cancelled, failed
	Reason   string         `json:"reason,omitempty"`
	Why      string         `json:"why,omitempty"`   // why the reason matters
	Mend     string         `json:"mend,omitempty"`  // what helps
	Sweep    bool           `json:"sweep,omitempty"` // a sweep follows when it is done
}

// CrawlRange is one key range: above From (exclusive; nil: from the first key) up to To (inclusive; nil: to the
// last). Next is the last key that was read and published; nil: none yet.
type CrawlRange struct {
	From []string `json:"from,omitempty"`
	To   []string `json:"to,omitempty"`
	Next []string `json:"next,omitempty"`
	Done bool     `json:"done,omitempty"`
}

// SweepState is a sweep that is still to be done: keys whose newest record is a put below Below are looked up in
// the table, and deleted in the topic where they are gone.
type SweepState struct {
	Table  change.TableName `json:"table"`
	Below  change.Version   `json:"below"`
	Reason string           `json:"reason,omitempty"`
	// Pass of Passes is the next to do: keys are split by hash so that one pass fits into memory.
	Pass   int   `json:"pass"`
	Passes int   `json:"passes"`
	Keys   int64 `json:"keys"` // looked at so far
	Gone   int64 `json:"gone"` // deleted so far
}

// XAState is a transaction that was prepared and neither committed nor rolled back.
type XAState struct {
	XID  string `json:"xid"`
	GTID string `json:"gtid,omitempty"` // of the XA PREPARE
	// File and Offset stand where its group of events begins, for reading it again without GTIDs.
	File   string `json:"file"`
	Offset uint64 `json:"offset"`
	Millis int64  `json:"prepared_ms,omitempty"`
}

// SignalState is how far the signal topic has been taken in.
type SignalState struct {
	TopicID TopicID `json:"topic_id"`
	Next    int64   `json:"next"`
}

// The keys of the checkpoint.
const (
	positionKey = "position"
	signalKey   = "signal"
	tableKey    = "table/"
	crawlKey    = "crawl/"
	sweepKey    = "sweep/"
	xaKey       = "xa/"
)

// CheckpointKey returns "position".
func (*PositionState) CheckpointKey() string { return positionKey }

// CheckpointKey returns "signal".
func (*SignalState) CheckpointKey() string { return signalKey }

// CheckpointKey returns "table/<db>.<table>", escaped as in topic names.
func (s *TableState) CheckpointKey() string { return tableKey + tableText(s.Table) }

// CheckpointKey returns "crawl/<id>".
func (s *CrawlState) CheckpointKey() string { return crawlKey + s.ID }

// CheckpointKey returns "sweep/<db>.<table>", escaped as in topic names.
func (s *SweepState) CheckpointKey() string { return sweepKey + tableText(s.Table) }

// CheckpointKey returns "xa/<xid>".
func (s *XAState) CheckpointKey() string { return xaKey + s.XID }

// envelope is a checkpoint record's value.
type envelope struct {
	Format int             `json:"format"`
	State  json.RawMessage `json:"state"`
}

// EncodeState returns a checkpoint record's value.
func EncodeState(s State) ([]byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode checkpoint record %s: %w", s.CheckpointKey(), err)
	}
	return json.Marshal(envelope{Format: stateFormat, State: b})
}

// put reads one record into the checkpoint; a nil value takes its thing away.
func (c *Checkpoint) put(key string, value []byte) error {
	if value == nil {
		return c.remove(key)
	}
	var e envelope
	if err := json.Unmarshal(value, &e); err != nil {
		return fmt.Errorf("record %q: %w", key, err)
	}
	if e.Format != stateFormat {
		return fmt.Errorf("record %q has format %d, this program knows %d", key, e.Format, stateFormat)
	}
	kind, name, named := strings.Cut(key, "/")
	if named {
		kind += "/"
	}
	var err error
	switch kind {
	case positionKey:
		err = decodeInto(e.State, &c.Position)
	case signalKey:
		err = decodeInto(e.State, &c.Signal)
	case tableKey:
		err = decodeTable(e.State, name, c.Tables)
	case sweepKey:
		err = decodeTable(e.State, name, c.Sweeps)
	case crawlKey:
		err = decodeNamed(e.State, name, c.Crawls)
	case xaKey:
		err = decodeNamed(e.State, name, c.XA)
	default:
		err = fmt.Errorf("an unknown kind")
	}
	if err != nil {
		return fmt.Errorf("record %q: %w", key, err)
	}
	return nil
}

func (c *Checkpoint) remove(key string) error {
	kind, name, _ := strings.Cut(key, "/")
	switch kind + "/" {
	case tableKey, sweepKey:
		t, err := parseTableText(name)
		if err != nil {
			return fmt.Errorf("record %q: %w", key, err)
		}
		if kind+"/" == tableKey {
			delete(c.Tables, t)
		} else {
			delete(c.Sweeps, t)
		}
	case crawlKey:
		delete(c.Crawls, name)
	case xaKey:
		delete(c.XA, name)
	case positionKey + "/":
		c.Position = nil
	case signalKey + "/":
		c.Signal = nil
	default:
		return fmt.Errorf("record %q: an unknown kind", key)
	}
	return nil
}

func decodeInto[T any](b []byte, into **T) error {
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return err
	}
	*into = v
	return nil
}

func decodeNamed[T any](b []byte, name string, into map[string]*T) error {
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return err
	}
	into[name] = v
	return nil
}

func decodeTable[T any](b []byte, name string, into map[change.TableName]*T) error {
	t, err := parseTableText(name)
	if err != nil {
		return err
	}
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return err
	}
	into[t] = v
	return nil
}

// TopicID is Kafka's identity of a topic: a topic that is deleted and made again under its name has another.
type TopicID [16]byte

// String returns the id as Kafka's tools print it.
func (id TopicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// IsZero reports whether the id is unknown.
func (id TopicID) IsZero() bool { return id == TopicID{} }

// MarshalText returns what String returns.
func (id TopicID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *TopicID) UnmarshalText(b []byte) error {
	raw, err := base64.RawURLEncoding.DecodeString(string(b))
	if err != nil || len(raw) != len(id) {
		return fmt.Errorf("topic id %q: want 22 characters of base64url", b)
	}
	copy(id[:], raw)
	return nil
}

// nowMillis is the clock for what people read; nothing is decided by it.
func nowMillis() int64 { return time.Now().UnixMilli() }
