package publish

import (
	"fmt"
	"testing"
)

// rival is a Publisher as the fence sees it: it takes lanes, reads the checkpoint, and commits in turn until it meets that a lane is another's.
type rival struct {
	step    int  // of its life: takes, the read, commits
	starts  int  // lives so far
	unread  int  // commits of others since it has read the checkpoint
	hasRead bool // else it has nothing to lose
}

const (
	rivals      = 3
	rivalStarts = 2
	rivalSteps  = 2 + lanes + 4 // the last ones are commits
)

// fight is all that there is: who has each lane (-1: nobody), and the rivals.
type fight struct {
	owner [lanes]int8
	of    [rivals]rival
}

// protocol is in which order lanes are taken, and on which the first commit is.
type protocol struct {
	order [rivals][lanes]int
	first [rivals]int
	early bool // the checkpoint is read before the last lane is taken
}

// next lets one of them do its next step. harm is a commit by somebody who did not know of another's.
func (p *protocol) next(s fight, who int) (after fight, harm, ended bool) {
	r := &s.of[who]
	if r.starts == rivalStarts || r.step == rivalSteps {
		return s, false, true
	}
	takes, read := r.step, lanes
	if p.early {
		read = lanes - 1
		if r.step > read {
			takes = r.step - 1
		}
	}
	switch {
	case r.step == read:
		r.unread, r.hasRead = 0, true
	case r.step <= lanes:
		s.owner[p.order[who][takes]] = int8(who)
	default:
		lane := (p.first[who] + r.step - lanes - 1) % lanes
		if s.owner[lane] != int8(who) { // it is fenced, and begins anew
			*r = rival{starts: r.starts + 1}
			return s, false, false
		}
		harm = r.unread > 0
		for i := range s.of {
			if i != who && s.of[i].hasRead {
				s.of[i].unread = 1
			}
		}
	}
	r.step++
	return s, harm, false
}

// harmful tries all ways in which their steps can follow each other.
func (p *protocol) harmful() (states int, harm bool) {
	begin := fight{}
	for i := range begin.owner {
		begin.owner[i] = -1
	}
	seen, todo := map[fight]bool{begin: true}, []fight{begin}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for who := range rivals {
			after, bad, ended := p.next(s, who)
			if bad {
				return len(seen), true
			}
			if !ended && !seen[after] {
				seen[after] = true
				todo = append(todo, after)
			}
		}
	}
	return len(seen), false
}

// Three sources that are started again when they are fenced take the lanes from each other, in all ways in which their steps can follow each
// other: none commits without knowing of what another has committed. Where one of them takes the lanes in another order, begins with another
// lane or reads the checkpoint too early, that is not so, and it is found.
func TestRivalsOverLanes(t *testing.T) {
	var right protocol
	for i := range rivals {
		for l := range lanes {
			right.order[i][l] = l
		}
	}
	states, harm := right.harmful()
	if harm {
		t.Error("a commit was made by somebody who did not know of another's")
	}
	t.Logf("%d states", states)
	for name, bend := range map[string]func(p *protocol){
		"one takes the lanes in another order": func(p *protocol) { p.order[1][0], p.order[1][1] = 1, 0 },
		"one begins with another lane":         func(p *protocol) { p.first[1] = 1 },
		"all begin with the last lane":         func(p *protocol) { p.first = [rivals]int{1, 1, 1} },
		"the checkpoint is read too early":     func(p *protocol) { p.early = true },
	} {
		wrong := right
		bend(&wrong)
		if _, harm := wrong.harmful(); !harm {
			t.Errorf("%s: nothing is found", name)
		}
	}
}

// Lanes are taken in the order of their numbers and the first commit is the first one's: what TestRivalsOverLanes takes for granted.
func TestLanesInTurn(t *testing.T) {
	b := newBench(t)
	p := b.open(t)
	for i := range 2*lanes + 1 {
		if p.turn != i%lanes {
			t.Fatalf("transaction %d is lane %d's", i, p.turn)
		}
		must(t, p.Set(position(1)))
		must(t, p.Commit(t.Context()))
	}
	if got := fmt.Sprintln(laneID("shop", 0), laneID("shop", 1)); got != "shop shop.2\n" {
		t.Errorf("the ids are %s", got)
	}
}
