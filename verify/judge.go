package verify

import (
	"slices"

	"github.com/sluice-cdc/sluice/change"
)

// Kind is how a key's rows differ.
type Kind string

// The kinds of differences, in the order in which they are looked for.
const (
	Extra     Kind = "extra"       // the target has a row that the source does not have
	Missing   Kind = "missing"     // the target lacks the row
	Wrong     Kind = "wrong place" // the row is only where it does not belong
	Duplicate Kind = "duplicate"   // the row is where it belongs, and somewhere else too
	Different Kind = "different"   // the row is where it belongs, with other values
)

// Kinds are all kinds, as they are shown.
var Kinds = []Kind{Different, Missing, Extra, Wrong, Duplicate}

// Place is a row in one place: where it should be, or where it is.
type Place struct {
	Shard   string
	Sum     Sum
	Columns []string
	Values  []change.Value
	Version change.Version // 0 where it is not known
}

// Judge compares where a key's row should be with where it is. ok is true when there is no difference. It is pure.
func Judge(want, found []Place) (kind Kind, ok bool) {
	var difference Sum
	for i := range want {
		difference = difference.plus(want[i].Sum)
	}
	for i := range found {
		difference = difference.minus(found[i].Sum)
	}
	switch {
	case difference == Sum{} && len(want) == len(found):
		return "", true
	case len(want) == 0:
		return Extra, false
	case len(found) == 0:
		return Missing, false
	}
	lacking, elsewhere := false, false
	for i := range want {
		lacking = lacking || !in(found, want[i].Shard)
	}
	for i := range found {
		elsewhere = elsewhere || !in(want, found[i].Shard)
	}
	switch {
	case lacking && elsewhere:
		return Wrong, false
	case lacking:
		return Missing, false
	case elsewhere || len(found) > len(want):
		return Duplicate, false
	}
	return Different, false
}

func in(places []Place, shard string) bool {
	return slices.ContainsFunc(places, func(p Place) bool { return p.Shard == shard })
}

// Look is one look at some keys: what the source showed, what the target showed once it had applied everything that the source
// had shown, and which keys the topic carried from before the first to after the second.
type Look struct {
	Want    map[string][]Place
	Found   map[string][]Place
	Touched map[string]bool

	// Events are what the topic carried of the touched keys: what each event says of where the row should be from its version on.
	Events map[string][]Event
}

// Event is what one event of a key says of its row.
type Event struct {
	Version change.Version
	Want    []Place // none: deleted
}

// Verdict is what a look says of one key.
type Verdict uint8

// The verdicts.
const (
	Equal     Verdict = iota // the target shows what the source shows
	Again                    // it does not, and the stream touched the key meanwhile: nothing can be said yet
	Differing                // it does not, and nothing is on its way that would change it
)

// Decide says what the look tells of the key. It is pure.
//
// A key that was not touched had one state in the log from before the source was read until after the target was. The source showed
// that state: all that had been published before was visible, and all that was visible had been published before the target was
// read. The target had applied it. So there is one truth to compare, and no time has to pass.
//
// A key that is touched all the time never comes to rest. But where the target tells its row's version, the topic carried the event
// of that version, and the row is what that event says, the target shows a state that the row has had since: it is equal too.
func (l *Look) Decide(key string) (Verdict, Kind) {
	kind, ok := Judge(l.Want[key], l.Found[key])
	switch {
	case ok:
		return Equal, ""
	case l.Touched[key] && l.shownByEvent(key):
		return Equal, ""
	case l.Touched[key]:
		return Again, kind
	}
	return Differing, kind
}

// shownByEvent reports whether the rows found are what an event of the key says, and of its version.
func (l *Look) shownByEvent(key string) bool {
	found := l.Found[key]
	if len(found) == 0 {
		return false
	}
	return slices.ContainsFunc(l.Events[key], func(e Event) bool {
		for i := range found {
			if found[i].Version != e.Version {
				return false
			}
		}
		_, ok := Judge(e.Want, found)
		return ok
	})
}
