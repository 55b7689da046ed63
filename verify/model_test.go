package verify

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// model is a source, its log and a target that applies the log, at any distance; differences are planted at the target.
//
// A commit is in the binlog first (log), may be published before it is visible (R4), is visible later, and is applied later still.
type model struct {
	t         *rapid.T
	log       []write        // the binlog, which is the topic too: published is how much of it is in Kafka
	visible   map[string]int // the source as a SELECT shows it
	shown     int            // of the log
	published int
	target    map[string]int
	applied   int
	planted   map[string]bool // keys whose row at the target is not what the log made it
}

type write struct {
	key   string
	value int // 0: deleted
}

func (m *model) step() {
	switch rapid.IntRange(0, 6).Draw(m.t, "step") {
	case 0, 1:
		m.log = append(m.log, write{m.key(), rapid.IntRange(0, 3).Draw(m.t, "value")})
	case 2:
		m.show()
	case 3:
		m.publish()
	case 4, 5:
		m.apply()
	case 6:
		if rapid.IntRange(0, 5).Draw(m.t, "plant") == 0 {
			m.plant(m.key(), rapid.IntRange(0, 3).Draw(m.t, "planted"))
		}
	}
}

func (m *model) key() string { return fmt.Sprint(rapid.IntRange(0, 4).Draw(m.t, "key")) }

func (m *model) show() {
	if m.shown < len(m.log) {
		m.put(m.visible, m.log[m.shown])
		m.shown++
	}
}

func (m *model) publish() { m.published = min(m.published+1, len(m.log)) }

func (m *model) apply() {
	if m.applied < m.published {
		m.put(m.target, m.log[m.applied])
		delete(m.planted, m.log[m.applied].key) // newer wins
		m.applied++
	}
}

func (m *model) put(into map[string]int, w write) {
	if w.value == 0 {
		delete(into, w.key)
		return
	}
	into[w.key] = w.value
}

func (m *model) plant(key string, value int) {
	was := m.target[key]
	m.put(m.target, write{key, value})
	if value != was {
		m.planted[key] = true
	}
}

// some lets the world go on for a while.
func (m *model) some() {
	for range rapid.IntRange(0, 4).Draw(m.t, "steps") {
		m.step()
	}
}

// places writes a value as rows in places.
func places(values map[string]int, keys []string) map[string][]Place {
	out := make(map[string][]Place)
	for _, k := range keys {
		if v := values[k]; v != 0 {
			out[k] = []Place{{Sum: Sum{uint64(v), 7}}}
		}
	}
	return out
}

// look is one round as settle.go does it; skip leaves something of it out.
func (m *model) look(keys []string, skip string) *Look {
	from := m.published // step 1
	m.some()
	published := m.published // the checkpoint
	m.some()
	if skip == "the ends before the checkpoint" {
		from = m.published
	}
	for skip != "the wait for what is published to be visible" && m.shown < published { // step 2
		m.show()
	}
	want := places(m.visible, keys)
	m.some()
	if skip == "the ends before the source" {
		from = m.published
	}
	mark := len(m.log) // the end of the binlog: at or after all that was shown
	m.some()
	for skip != "the wait for the target" && m.applied < mark { // step 3
		m.publish()
		m.apply()
	}
	m.some()
	found := places(m.target, keys) // step 4
	m.some()
	l := &Look{Want: want, Found: found, Touched: make(map[string]bool)}
	for _, w := range m.log[from:m.published] { // step 5
		if skip != "the keys that were touched" {
			l.Touched[w.key] = true
		}
	}
	return l
}

// wrong runs one look in a random world and returns what it says that is not so, or what it passes over.
func (m *model) wrong(skip string) string {
	for range rapid.IntRange(0, 20).Draw(m.t, "history") {
		m.step()
	}
	keys := []string{"0", "1", "2", "3", "4"}
	before := make(map[string]bool) // planted all the time: surely differs
	for k := range m.planted {
		before[k] = true
	}
	l := m.look(keys, skip)
	for _, k := range keys {
		verdict, _ := l.Decide(k)
		truth := m.truth(k, len(m.log))
		if verdict == Differing && !before[k] && !m.planted[k] {
			return fmt.Sprintf("key %s is said to differ, and nothing was planted", k)
		}
		if verdict == Equal && before[k] && m.planted[k] && !m.wrote(k, 0) && m.target[k] != truth {
			return fmt.Sprintf("key %s differs all the time and is said to be equal", k)
		}
	}
	return ""
}

// truth is the key's value after so much of the log.
func (m *model) truth(key string, upto int) int {
	v := 0
	for _, w := range m.log[:upto] {
		if w.key == key {
			v = w.value
		}
	}
	return v
}

func (m *model) wrote(key string, from int) bool {
	for _, w := range m.log[from:] {
		if w.key == key {
			return true
		}
	}
	return false
}

func newModel(t *rapid.T) *model {
	return &model{t: t, visible: map[string]int{}, target: map[string]int{}, planted: map[string]bool{}}
}

// TestLook: however writes, commits, publishing and applying interleave with a look, it never says of a key that it differs where
// nothing was planted, and never that it is equal where a planted difference stood all the time.
func TestLook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if wrong := newModel(t).wrong(""); wrong != "" {
			t.Fatal(wrong)
		}
	})
	worlds := rapid.Custom(func(t *rapid.T) string { return newModel(t).wrong("") })
	for n := range 20_000 {
		if wrong := worlds.Example(n); wrong != "" {
			t.Fatalf("world %d: %s", n, wrong)
		}
	}
}

// TestLookNeedsAllOfIt: with any part of it left out there are worlds in which a look is wrong.
func TestLookNeedsAllOfIt(t *testing.T) {
	for _, skip := range []string{"the ends before the checkpoint", "the wait for what is published to be visible", "the ends before the source",
		"the wait for the target", "the keys that were touched"} {
		worlds := rapid.Custom(func(t *rapid.T) string { return newModel(t).wrong(skip) })
		wrong, n := "", 0
		for ; wrong == "" && n < 20_000; n++ {
			wrong = worlds.Example(n)
		}
		if wrong == "" {
			t.Errorf("without %s nothing goes wrong", skip)
		}
		t.Logf("without %s: world %d: %s", skip, n, wrong)
	}
}
