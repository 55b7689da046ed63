package proxy

import (
	"math/rand/v2"
	"time"
)

const (
	// packetBytes is what a TCP packet carries over Ethernet.
	packetBytes = 1460
	// pieceBytes is passed on at a time over a lossy link, so that a slow one
	// trickles and does not burst.
	pieceBytes = 4 * packetBytes
	// retransmitMin is how long Linux waits for an answer to a packet before
	// it sends it again (TCP_RTO_MIN); twice as long each further time.
	retransmitMin = 200 * time.Millisecond
	// retransmitsMax bounds how often one packet is lost, and so a stall to
	// 200+400+800+1600 ms.
	retransmitsMax = 4
)

// Link says how bad a link is. What is zero is not.
type Link struct {
	// BytesPerSecond is how much it carries in each direction, all connections
	// together.
	BytesPerSecond int
	// Loss is the share of packets that is lost, 0.01 for one in a hundred. As
	// TCP shows it, all that follows in that direction of the connection waits
	// for the retransmission.
	Loss float64
	// Reset is the share of packets that end in the reset of their connection,
	// as when a middlebox forgets it.
	Reset float64
}

// BadLink is a link that works, but not well: a megabyte a second with one
// packet in two hundred lost and a reset every fifty megabytes or so.
var BadLink = Link{BytesPerSecond: 1 << 20, Loss: 0.005, Reset: 0.00003}

// lossyLink is a link with its dice and its two directions.
type lossyLink struct {
	Link
	dice *rand.Rand
	// free is when each direction, the client's and the server's, can carry
	// more.
	free [2]time.Time
}

// Lossy makes the link slow and lossy until Restore, for open connections and
// new ones. The seed fixes the dice; which connection they meet is the
// scheduler's choice.
func (p *Proxy) Lossy(seed uint64, link Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lossy = &lossyLink{Link: link, dice: rand.New(rand.NewPCG(seed, 0))}
}

// pieces cuts what goes over a lossy link.
func (p *Proxy) pieces(data []byte) [][]byte {
	p.mu.Lock()
	lossy := p.lossy != nil
	p.mu.Unlock()
	var pieces [][]byte
	for lossy && len(data) > pieceBytes {
		pieces = append(pieces, data[:pieceBytes])
		data = data[pieceBytes:]
	}
	return append(pieces, data)
}

// cross takes the time that n bytes need over the link; not ok means that the
// connection is to be reset.
func (p *Proxy) cross(n int, answers bool) (ok bool) {
	p.mu.Lock()
	if p.lossy == nil {
		p.mu.Unlock()
		return true
	}
	due, ok := p.lossy.carry(time.Now(), n, answers)
	p.mu.Unlock()
	p.waitUntil(due)
	return ok
}

// carry says when n bytes have arrived; not ok means never.
func (l *lossyLink) carry(now time.Time, n int, answers bool) (arrived time.Time, ok bool) {
	direction := 0
	if answers {
		direction = 1
	}
	arrived = now
	if l.BytesPerSecond > 0 {
		if l.free[direction].After(now) {
			arrived = l.free[direction]
		}
		arrived = arrived.Add(time.Duration(n) * time.Second / time.Duration(l.BytesPerSecond))
		l.free[direction] = arrived
	}
	for sent := 0; sent < n; sent += packetBytes {
		if l.dice.Float64() < l.Reset {
			return now, false
		}
		wait := retransmitMin
		for range retransmitsMax {
			if l.dice.Float64() >= l.Loss {
				break
			}
			arrived = arrived.Add(wait)
			wait *= 2
		}
	}
	return arrived, true
}
