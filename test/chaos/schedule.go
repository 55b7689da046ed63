package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Planned is one fault as the seed has it.
type Planned struct {
	Number int // in the run, once it begins
	Kind   string
	Place  string        // which server, link or process; empty where there is only one
	At     time.Duration // after the begin of the fire
	Length time.Duration
	Dice   uint64 // what else is random in it
}

// String names the fault.
func (p Planned) String() string {
	if p.Place == "" {
		return p.Kind
	}
	return p.Kind + " " + p.Place
}

// shape is what a planner has to know of a kind.
type shape struct {
	name     string
	places   []string // one of them is drawn; none: ""
	min, max time.Duration
	claims   func(place string) []string // what no other fault may touch meanwhile
}

// Planner draws faults. It knows no clock: the same seed and the same calls give the same faults.
type Planner struct {
	random *rand.Rand
	kinds  []shape
	deck   []int // kinds still to be drawn before all are shuffled anew, so that none is left out for long
}

func newPlanner(seed, stream uint64, kinds []shape) *Planner {
	return &Planner{random: rand.New(rand.NewPCG(seed, stream)), kinds: kinds}
}

// Round draws the faults of one round of fire: one every gap on average, so many at once at most, none of which touches what
// another one has claimed, and none longer than the round.
func (p *Planner) Round(length, gap time.Duration, atOnce int) []Planned {
	var round []Planned
	for at := p.between(0, gap); at < length-time.Second; at += p.between(gap*3/10, gap*17/10) {
		var going []Planned
		for _, f := range round {
			if f.At+f.Length > at {
				going = append(going, f)
			}
		}
		if len(going) >= atOnce {
			continue
		}
		if f, ok := p.draw(at, length, going); ok {
			round = append(round, f)
		}
	}
	return round
}

// draw takes the first kind of the deck that goes together with what is going on.
func (p *Planner) draw(at, end time.Duration, going []Planned) (Planned, bool) {
	if len(p.deck) < len(p.kinds) { // a second deck below the first, so that there is a choice
		p.deck = append(p.deck, p.random.Perm(len(p.kinds))...)
	}
	claimed := map[string]bool{}
	for _, f := range going {
		for _, c := range p.kind(f.Kind).claims(f.Place) {
			claimed[c] = true
		}
	}
	for i, index := range p.deck {
		k := p.kinds[index]
		f := Planned{Kind: k.name, At: at, Length: min(p.between(k.min, k.max), end-at), Dice: p.random.Uint64()}
		if len(k.places) > 0 {
			f.Place = k.places[p.random.IntN(len(k.places))]
		}
		if slices.ContainsFunc(k.claims(f.Place), func(c string) bool { return claimed[c] }) {
			continue
		}
		p.deck = slices.Delete(p.deck, i, i+1)
		return f, true
	}
	return Planned{}, false
}

func (p *Planner) kind(name string) shape {
	i := slices.IndexFunc(p.kinds, func(k shape) bool { return k.name == name })
	if i < 0 {
		panic(fmt.Sprintf("chaos: a planned fault of the unknown kind %q", name))
	}
	return p.kinds[i]
}

func (p *Planner) between(least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(p.random.Int64N(int64(most-least)))
}
