package publish

import "time"

const (
	// retryPause is for how long a broker has a request wait that came too soon.
	retryPause = 20 * time.Millisecond
	// settleMax is the longest settling: a request that comes too soon costs little more than that.
	settleMax = 16 * time.Millisecond
	// smallTransaction is how many bytes take no time worth mentioning on their way to a broker.
	smallTransaction = 64 << 10
)

// settling is how long a transaction's first request waits after the answer to the same id's last commit, so that the broker has written that one's
// markers. How long it needs for them depends on what else it does, and only shows in what comes too soon. So the time grows by a quarter where
// small transactions were held up, and shrinks again so slowly that about one in a hundred is. It is pure.
//
// A broker that always takes so long to acknowledge, for its replicas are far away, looks the same: there it stays at settleMax.
type settling struct{ least, now time.Duration }

// learn takes in how long the records of a small transaction took.
func (s *settling) learn(took time.Duration) {
	switch {
	case s.least <= 0: // not wanted
	case took >= retryPause:
		s.now = min(s.now+s.now/4, max(settleMax, s.least))
	default:
		s.now = max(s.now-s.now/512, s.least)
	}
}
