package sink_test

import (
	"slices"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

func TestNewestPerKey(t *testing.T) {
	var changes []sink.Change
	for _, c := range []struct {
		key     string
		version change.Version
	}{{"a", 1}, {"", 2}, {"b", 3}, {"a", 5}, {"ab", 1}, {"b", 2}, {"a", 4}, {"", 2}} {
		changes = append(changes, sink.Change{Key: []byte(c.key), Version: c.version})
	}
	if got, want := sink.NewestPerKey(changes), []int{2, 3, 4, 7}; !slices.Equal(got, want) {
		t.Errorf("newest: %v, want %v", got, want)
	}
	if got, want := sink.Keys(changes), []string{"a", "", "b", "a", "ab", "b", "a", ""}; !slices.Equal(got, want) {
		t.Errorf("keys: %q, want %q", got, want)
	}
	if sink.NewestPerKey(nil) == nil || len(sink.Keys(nil)) != 0 {
		t.Error("of no changes")
	}
}
