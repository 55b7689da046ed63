package kafka

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
)

func TestTopicName(t *testing.T) {
	for _, c := range []struct {
		db, table, want string
	}{
		{"shop", "orders", "p.shop.orders"},
		{"shop", "order_items2", "p.shop.order_items2"},
		{"shop", "my-table", "p.shop.my-2Dtable"},
		{"a.b", "c", "p.a-2Eb.c"},
		{"a", "b.c", "p.a.b-2Ec"},
		{"shop", "größe", "p.shop.gr-C3-B6-C3-9Fe"},
		{"shop", "a b", "p.shop.a-20b"},
	} {
		name := change.TableName{DB: c.db, Name: c.table}
		if got := TopicName("p", name); got != c.want {
			t.Errorf("TopicName(%v) = %s, want %s", name, got, c.want)
		}
	}
}

var allowedTopic = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// names gives names that are likely to collide under a bad scheme.
func names() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[ab.\-_x2DE]{1,6}`),
		rapid.StringMatching(`[ab.\-_]{60,64}`),
		rapid.StringN(1, 64, -1),
	)
}

func TestTopicNamesNeverCollideAndReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one := change.TableName{DB: names().Draw(t, "db"), Name: names().Draw(t, "table")}
		two := change.TableName{DB: names().Draw(t, "db2"), Name: names().Draw(t, "table2")}
		prefix := strings.Repeat("p", rapid.IntRange(1, maxPrefix).Draw(t, "prefix"))
		a, b := TopicName(prefix, one), TopicName(prefix, two)
		if !allowedTopic.MatchString(a) {
			t.Fatalf("%q is no name for a topic", a)
		}
		if one != two && a == b {
			t.Fatalf("%v and %v share the topic %s", one, two, a)
		}
		back, ok := TableOf(prefix, a)
		if strings.Contains(a, "-x") {
			if ok {
				t.Fatalf("%s is shortened, and reads back as %v", a, back)
			}
		} else if !ok || back != one {
			t.Fatalf("%s reads back as %v, %v; want %v", a, back, ok, one)
		}
		if got, err := parseTableText(tableText(one)); err != nil || got != one {
			t.Fatalf("checkpoint key of %v reads back as %v, %v", one, got, err)
		}
	})
}

func TestShortenedNamesDiffer(t *testing.T) {
	long := strings.Repeat("ü", 64)
	a := TopicName("p", change.TableName{DB: long, Name: long[:len(long)-2] + "ö"})
	b := TopicName("p", change.TableName{DB: long, Name: long})
	if a == b || len(a) > maxTopicName || len(b) > maxTopicName {
		t.Errorf("%s (%d), %s (%d)", a, len(a), b, len(b))
	}
}

func TestValidatePrefix(t *testing.T) {
	for _, bad := range []string{"", "a.b", "a b", "ä", strings.Repeat("a", maxPrefix+1)} {
		if ValidatePrefix(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if err := ValidatePrefix("shop-1_A"); err != nil {
		t.Error(err)
	}
}

func TestTableOfIsNoneOfTheOwnTopics(t *testing.T) {
	for _, topic := range []string{"p.checkpoint", "p.signal", "q.shop.orders", "p", "p.a.b.c", "p..a", "p.a.b-2"} {
		if table, ok := TableOf("p", topic); ok {
			t.Errorf("TableOf(%s) = %v", topic, table)
		}
	}
}
