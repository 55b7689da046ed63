package files

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink"
)

const (
	suffix        = ".parquet"
	stagedFolder  = "_sluice/staged/"
	progressPlace = "_sluice/progress/"
	ownerKey      = "_sluice/owner.json"
	copyFolder    = "_copies/"
)

// topicMax is how long a topic's name stands in a file's as it is: file systems end at 255 bytes.
const topicMax = 120

// incarnation names a topic's incarnation: the same name made again has another id, another number of partitions moves keys.
func incarnation(p *sink.Partition) string {
	topic := p.Topic
	if len(topic) > topicMax {
		sum := sha256.Sum256([]byte(topic))
		topic = topic[:topicMax-20] + "~" + hex.EncodeToString(sum[:8])
	}
	return fmt.Sprintf("%s.%s.%d", topic, hex.EncodeToString(p.TopicID[:]), p.Count)
}

// partitionName names a partition in keys.
func partitionName(p *sink.Partition) string {
	return fmt.Sprintf("%s-%d", incarnation(p), p.Partition)
}

func stateKey(p *sink.Partition) string { return progressPlace + partitionName(p) + ".json" }

// tableFolder is where the files of a table lie, in the form of Hive: what stands behind "=" is the value, with %XX where a path could
// not have it.
func tableFolder(t change.TableName) string {
	return "table=" + escapeHive(t.String()) + "/"
}

func escapeHive(text string) string { return escape(text, false) }

// dayFolder is where files of a day lie.
func dayFolder(t change.TableName, day string) string { return tableFolder(t) + "day=" + day + "/" }

// dayOfKey reads the day out of a file's key.
func dayOfKey(key string) string {
	_, rest, _ := strings.Cut(key, "/day=")
	day, _, _ := strings.Cut(rest, "/")
	return day
}

// tableOf returns the table of a partition: its topic tells it; else that of the first schema that was seen.
func tableOf(p *sink.Partition, seen change.TableName) change.TableName {
	if name, ok := kafka.TableOf(p.Source, p.Topic); ok {
		return name
	}
	return seen
}

// span is the offsets of a file: [first, next).
type span struct{ first, next int64 }

// fileKey is the key of a visible file. Its last offset is next-1.
func fileKey(t change.TableName, p *sink.Partition, day string, s span) string {
	return fmt.Sprintf("%s%s-%019d-%019d%s", dayFolder(t, day), partitionName(p), s.first, s.next-1, suffix)
}

// stagedKey is the key of a staged file, which no other one has or will have.
func stagedKey(p *sink.Partition, s span, epoch int64) string {
	return fmt.Sprintf("%s%s/%d-%d.%d-%016x%s", stagedFolder, partitionName(p), s.first, s.next-1, epoch, rand.Uint64(), suffix)
}

// epochOf reads the owner's epoch out of a staged file's key.
func epochOf(key string) int64 {
	_, rest, _ := strings.Cut(path.Base(key), ".")
	text, _, _ := strings.Cut(rest, "-")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return math.MaxInt64 // it is not Sluice's
	}
	return n
}

// parseFile reads the partition's name and the offsets out of a file's key.
func parseFile(key string) (partition string, s span, ok bool) {
	name, ok := strings.CutSuffix(path.Base(key), suffix)
	if !ok {
		return "", s, false
	}
	parts := strings.Split(name, "-")
	if len(parts) < 4 {
		return "", s, false
	}
	first, err1 := strconv.ParseInt(parts[len(parts)-2], 10, 64)
	last, err2 := strconv.ParseInt(parts[len(parts)-1], 10, 64)
	return strings.Join(parts[:len(parts)-2], "-"), span{first, last + 1}, err1 == nil && err2 == nil && first <= last
}

// current returns the files that a reader has to read of those that it has found: not those whose offsets lie within those of
// another file of the same partition, into which they were merged.
func current(found []entry) []entry {
	type file struct {
		entry
		span
	}
	by := make(map[string][]file)
	for _, e := range found {
		if partition, s, ok := parseFile(e.key); ok {
			by[partition] = append(by[partition], file{e, s})
		}
	}
	var kept []entry
	for _, e := range found {
		partition, s, ok := parseFile(e.key)
		covered := !ok
		for _, other := range by[partition] {
			wider := other.first <= s.first && other.next >= s.next && other.span != s
			covered = covered || wider
		}
		if !covered {
			kept = append(kept, e)
		}
	}
	return kept
}
