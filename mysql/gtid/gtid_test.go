package gtid

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

const (
	uuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	uuidB = "4e11fa47-71ca-11e1-9e33-c80aa9429562"
)

func mustParse(t testing.TB, flavor Flavor, text string) *Set {
	t.Helper()
	s, err := Parse(flavor, text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseMySQL(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{" \n ", ""},
		{uuidA + ":1", uuidA + ":1"},
		{uuidA + ":1-1", uuidA + ":1"},
		{uuidA + ":1-5:6-7:9", uuidA + ":1-7:9"},
		{uuidA + ":9:1-5:3-7", uuidA + ":1-7:9"},
		{uuidB + ":1,\n" + uuidA + ":2", uuidA + ":2," + uuidB + ":1"},
		{"3E11FA47-71CA-11E1-9E33-C80AA9429562:1 - 3", uuidA + ":1-3"},
		{"3e11fa4771ca11e19e33c80aa9429562:1", uuidA + ":1"},
		{uuidA + ":1-3:Red:1-2:blue:4", uuidA + ":1-3:blue:4:red:1-2"},
		{uuidA + ":red:1", uuidA + ":red:1"},
		{uuidA + ":red:1," + uuidA + ":2", uuidA + ":2:red:1"},
		{uuidA + ":1," + uuidA + ":2", uuidA + ":1-2"},
		{"," + uuidA + ":1,,", uuidA + ":1"},
		{uuidA + ":_a9:1-9223372036854775806", uuidA + ":_a9:1-9223372036854775806"},
	} {
		if got := mustParse(t, MySQL, c.text).String(); got != c.want {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"x", uuidA, uuidA + ":", uuidA + ":0", uuidA + ":-1", uuidA + ":5-3", uuidA + ":1-",
		uuidA + ":9223372036854775807", uuidA + ":red", uuidA + ":1:red", uuidA + ":red:blue:1",
		uuidA + ":1a", uuidA + ":a-b:1", "zz11fa47-71ca-11e1-9e33-c80aa9429562:1", "0-1-5",
		uuidA + ":a23456789012345678901234567890123:1",
	} {
		if s, err := Parse(MySQL, text); err == nil {
			t.Errorf("%q: read as %q", text, s)
		}
	}
	for _, text := range []string{"0-1", "0-1-2-3", "a-1-2", "0-1--2", "4294967296-1-1", uuidA + ":1"} {
		if s, err := Parse(MariaDB, text); err == nil {
			t.Errorf("%q: read as %q", text, s)
		}
	}
}

func TestMySQLOperations(t *testing.T) {
	for _, c := range []struct {
		a, b, union, minus string
		contains           bool
	}{
		{"", "", "", "", true},
		{uuidA + ":1-5", "", uuidA + ":1-5", uuidA + ":1-5", true},
		{"", uuidA + ":1-5", uuidA + ":1-5", "", false},
		{uuidA + ":1-10", uuidA + ":3-4:7", uuidA + ":1-10", uuidA + ":1-2:5-6:8-10", true},
		{uuidA + ":1-5:8", uuidA + ":5-8", uuidA + ":1-8", uuidA + ":1-4", false},
		{uuidA + ":1-5", uuidA + ":red:1-5", uuidA + ":1-5:red:1-5", uuidA + ":1-5", false},
		{uuidA + ":1-5:red:1-5", uuidA + ":red:2", uuidA + ":1-5:red:1-5", uuidA + ":1-5:red:1:3-5", true},
		{uuidA + ":1-5," + uuidB + ":1", uuidA + ":1-5", uuidA + ":1-5," + uuidB + ":1", uuidB + ":1", true},
	} {
		a, b := mustParse(t, MySQL, c.a), mustParse(t, MySQL, c.b)
		if got := a.Union(b).String(); got != c.union {
			t.Errorf("%q union %q: got %q", c.a, c.b, got)
		}
		if got := a.Minus(b).String(); got != c.minus {
			t.Errorf("%q minus %q: got %q", c.a, c.b, got)
		}
		if got := a.Contains(b); got != c.contains {
			t.Errorf("%q contains %q: got %v", c.a, c.b, got)
		}
		if a.String() != c.a || b.String() != c.b {
			t.Errorf("%q, %q were changed to %q, %q", c.a, c.b, a, b)
		}
	}
}

func TestMariaDBOperations(t *testing.T) {
	a, b := mustParse(t, MariaDB, "1-2-7, 0-1-100"), mustParse(t, MariaDB, "0-9-99")
	if got := a.String(); got != "0-1-100,1-2-7" {
		t.Errorf("got %q", got)
	}
	if !a.Contains(b) || b.Contains(a) || a.Equal(b) {
		t.Error("0-1-100 contains 0-9-99: the sequence alone counts")
	}
	if got := a.Minus(b).String(); got != "0-1-100,1-2-7" {
		t.Errorf("minus: got %q", got)
	}
	if got := b.Minus(a); !got.Empty() {
		t.Errorf("minus: got %q", got)
	}
	if got := mustParse(t, MariaDB, "0-1-5,0-2-9,0-3-7").String(); got != "0-2-9" {
		t.Errorf("a domain twice: got %q", got)
	}
	a.AddMariaDB(0, 3, 90)
	a.AddMariaDB(5, 3, 1)
	if got := a.String(); got != "0-1-100,1-2-7,5-3-1" {
		t.Errorf("add: got %q", got)
	}
	if !a.ContainsMariaDB(0, 100) || a.ContainsMariaDB(0, 101) || a.ContainsMariaDB(7, 1) {
		t.Error("ContainsMariaDB")
	}
}

func TestSetsShareNothing(t *testing.T) {
	a := mustParse(t, MySQL, uuidA+":1-5")
	empty := New(MySQL)
	for name, b := range map[string]*Set{"clone": a.Clone(), "union": empty.Union(a), "minus": a.Minus(empty)} {
		b.AddRaw(mustParse(t, MySQL, uuidA+":1").onlySource(), "", 6)
		if a.String() != uuidA+":1-5" || b.String() != uuidA+":1-6" {
			t.Errorf("%s: %q and %q", name, a, b)
		}
	}
}

func (s *Set) onlySource() [16]byte {
	for key := range s.sources {
		return key.sid
	}
	return [16]byte{}
}

func TestJSON(t *testing.T) {
	got, err := json.Marshal(map[string]*Set{"gtid": mustParse(t, MySQL, uuidA+":1-5")})
	if err != nil || string(got) != `{"gtid":"`+uuidA+`:1-5"}` {
		t.Errorf("got %s, %v", got, err)
	}
}

// TestModel compares a set with a plain map of numbers.
func TestModel(t *testing.T) {
	const gnoMax = 24
	tags := []string{"", "red"}
	var sid [16]byte
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) (*Set, map[string]bool) {
			set, model := New(MySQL), map[string]bool{}
			for range rapid.IntRange(0, 30).Draw(t, name+" size") {
				tag, gno := rapid.SampledFrom(tags).Draw(t, "tag"), rapid.Int64Range(1, gnoMax).Draw(t, "gno")
				if rapid.IntRange(0, 4).Draw(t, "remove") == 0 {
					set.RemoveRaw(sid, tag, gno)
					delete(model, fmt.Sprint(tag, ":", gno))
					continue
				}
				set.AddRaw(sid, tag, gno)
				model[fmt.Sprint(tag, ":", gno)] = true
			}
			return set, model
		}
		a, inA := draw("a")
		b, inB := draw("b")
		union, minus, contains := a.Union(b), a.Minus(b), true
		for _, tag := range tags {
			for gno := int64(1); gno <= gnoMax; gno++ {
				key := fmt.Sprint(tag, ":", gno)
				if got := union.ContainsRaw(sid, tag, gno); got != (inA[key] || inB[key]) {
					t.Fatalf("%s in %q + %q: %v", key, a, b, got)
				}
				if got := minus.ContainsRaw(sid, tag, gno); got != (inA[key] && !inB[key]) {
					t.Fatalf("%s in %q - %q: %v", key, a, b, got)
				}
				contains = contains && (inA[key] || !inB[key])
			}
		}
		if a.Contains(b) != contains {
			t.Fatalf("%q contains %q: %v", a, b, a.Contains(b))
		}
		if a.Empty() != (len(inA) == 0) {
			t.Fatalf("%q is empty: %v", a, a.Empty())
		}
		for _, set := range []*Set{a, union, minus} {
			back, err := Parse(MySQL, set.String())
			if err != nil || !back.Equal(set) || back.String() != set.String() {
				t.Fatalf("%q read back: %q, %v", set, back, err)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(uuidA + ":1-5:red:7")
	f.Add("0-1-5,1-1-1")
	f.Fuzz(func(t *testing.T, text string) {
		for _, flavor := range []Flavor{MySQL, MariaDB} {
			s, err := Parse(flavor, text)
			if err != nil {
				continue
			}
			if back, err := Parse(flavor, s.String()); err != nil || !back.Equal(s) {
				t.Errorf("%q: %q read back: %v", text, s, err)
			}
		}
	})
}

func BenchmarkAddRaw(b *testing.B) {
	s := New(MySQL)
	var sid [16]byte
	for i := range int64(b.N) {
		s.AddRaw(sid, "", i+1)
	}
}
