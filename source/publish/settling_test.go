package publish

import (
	"testing"
	"time"
)

// TestSettling: a broker that needs a certain time for its markers is met too soon now and then, not again and again, and one that has become
// fast is not waited for.
func TestSettling(t *testing.T) {
	s := settling{least: 4 * time.Millisecond, now: 4 * time.Millisecond}
	phase := func(needs time.Duration, transactions int) (soon int) {
		for range transactions {
			took := 2 * time.Millisecond
			if s.now < needs {
				took += retryPause
				soon++
			}
			s.learn(took)
			if s.now < s.least || s.now > settleMax {
				t.Fatalf("it waits for %s", s.now)
			}
		}
		return soon
	}
	if soon := phase(0, 1000); soon > 0 || s.now != s.least {
		t.Errorf("a fast broker: %d of 1000 too soon, then %s", soon, s.now)
	}
	if soon := phase(10*time.Millisecond, 1000); soon > 20 || soon == 0 {
		t.Errorf("a slow broker: %d of 1000 too soon", soon)
	}
	if soon := phase(time.Second, 1000); s.now < settleMax*9/10 {
		t.Errorf("a broker that is too slow for it: %d of 1000 too soon, then %s", soon, s.now)
	}
	if soon := phase(0, 1000); soon > 0 || s.now != s.least {
		t.Errorf("fast again: %d of 1000 too soon, then %s", soon, s.now)
	}
	none := settling{}
	if none.learn(time.Second); none.now != 0 {
		t.Errorf("it waits for %s where nothing was wanted", none.now)
	}
}
