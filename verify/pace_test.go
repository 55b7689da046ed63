package verify

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestPace: rows are read no faster than the rate, over all tables, and what was counted and is not there takes no time.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, began := newLimiter(1000), time.Now()
		wait := func(rows int64, want time.Duration) {
			t.Helper()
			if err := l.wait(t.Context(), rows); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began).Round(time.Millisecond); took != want {
				t.Errorf("over after %v, want %v", took, want)
			}
		}
		wait(1000, time.Second)
		l.add(1000)
		l.add(-990) // a range of ten rows
		wait(500, 1510*time.Millisecond)
		go func() {
			time.Sleep(50 * time.Millisecond)
			l.add(-900)
		}()
		wait(1000, 1610*time.Millisecond) // told while it waits
		time.Sleep(time.Hour)
		wait(100, time.Hour+1710*time.Millisecond) // an idle hour is not made up for
	})
}
