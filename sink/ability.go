package sink

import (
	"net/url"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// Front is a target that stands in front of another. It has the methods of all abilities, and passes on what is behind it: it has
// those abilities that the target behind it has. Ability asks for them.
type Front interface {
	Target
	Behind() Target
}

// Ability returns the target as one that has the ability A: one of the small interfaces of this package, or another that the target
// may have.
func Ability[A any](t Target) (A, bool) {
	a, own := t.(A)
	front, ok := t.(Front)
	if !ok {
		return a, own
	}
	behind, has := Ability[A](front.Behind())
	if own && has {
		return a, true
	}
	var none A
	if own {
		return none, false
	}
	return behind, has
}

// A table of a source whose rows stand in a table of another name at the target, or in several, has a progress for each of them: its
// partitions are known to the target by the topic's name, this mark, which no topic's name has, and the table's name.
const laneMark = "~"

// LaneTopic returns what the target knows a topic by, for the rows that stand in the table.
func LaneTopic(topic string, table change.TableName) string {
	return topic + laneMark + escapeLane(table.DB) + "." + escapeLane(table.Name)
}

// escapeLane writes a name in ASCII, without a point.
func escapeLane(name string) string { return strings.ReplaceAll(url.PathEscape(name), ".", "%2E") }

// LaneOf takes a name that LaneTopic has made apart. Any other is a topic's, and the table is not told.
func LaneOf(name string) (topic string, table change.TableName, ok bool) {
	topic, text, ok := strings.Cut(name, laneMark)
	if !ok {
		return name, table, false
	}
	db, named, _ := strings.Cut(text, ".")
	var errs [2]error
	table.DB, errs[0] = url.PathUnescape(db)
	table.Name, errs[1] = url.PathUnescape(named)
	return topic, table, ok && errs == [2]error{}
}
