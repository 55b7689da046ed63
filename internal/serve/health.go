package serve

import (
	"errors"
	"sort"
	"sync"

	"github.com/sluice-cdc/sluice/change"
)

// Health holds the reasons why a process is not ready. It is ready when there are none. The zero value is ready.
type Health struct {
	mu sync.Mutex // guards the following
	//
	reasons map[string]Reason
}

// Reason is one reason not to be ready.
type Reason struct {
	Key  string `json:"key"` // what it is about: "start", "topic shop.shop.orders"
	What string `json:"what"`
	Why  string `json:"why,omitempty"`
	Mend string `json:"mend,omitempty"`
}

// Set gives the reason of that key; a later one takes its place. A nil error clears it.
func (h *Health) Set(key string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		delete(h.reasons, key)
		return
	}
	if h.reasons == nil {
		h.reasons = make(map[string]Reason)
	}
	r := Reason{Key: key, What: err.Error()}
	var p *change.Problem
	if errors.As(err, &p) {
		r.Why, r.Mend = p.Why, p.Mend
	}
	h.reasons[key] = r
}

// Clear takes the reason of that key away.
func (h *Health) Clear(key string) { h.Set(key, nil) }

// Reasons returns all reasons, ordered by key.
func (h *Health) Reasons() []Reason {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]Reason, 0, len(h.reasons))
	for _, r := range h.reasons {
		all = append(all, r)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Key < all[j].Key })
	return all
}
