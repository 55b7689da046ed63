package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// faults plays what the planners draw. Each fault has a goroutine of its own, from its begin to its end.
type faults struct {
	run   *run
	kinds map[string]kind

	mu     sync.Mutex // guards the following
	going  []string   // what goes on now, for progress lines
	counts map[string]int
	total  int
	broken error // a fault that could not be begun or ended: the run is worth nothing then
}

// play plays a round, from its begin to its end or until ctx ends; faults that are going on then end at once. It returns when
// all have been undone.
func (p *faults) play(ctx context.Context, round []Planned) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	var wg sync.WaitGroup
	// A fault may take longer to end than was planned, a restart say. The next one that claims the same waits for it.
	var claims claims
	for _, planned := range round {
		if !pause(ctx, time.Until(began.Add(planned.At))) {
			break
		}
		k := p.kinds[planned.Kind]
		wg.Go(func() {
			release, ok := claims.take(ctx, k.claims(planned.Place))
			if !ok {
				return
			}
			defer release()
			if err := p.one(ctx, k, planned); err != nil {
				p.mu.Lock()
				if p.broken == nil {
					p.broken = err
				}
				p.mu.Unlock()
				cancel()
			}
		})
	}
	wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.broken
}

// undoTimeout bounds the end of a fault: the start of a server, on a busy machine.
const undoTimeout = 5 * time.Minute

// one begins a fault, lets it last, and ends it.
func (p *faults) one(ctx context.Context, k kind, planned Planned) error {
	f := &active{Planned: planned, random: rand.New(rand.NewPCG(planned.Dice, 0))}
	f.Number = p.counted(planned)
	defer p.over(planned)
	began := time.Now()
	p.run.out.note("fault %3d begins: %s for %.1fs", f.Number, f, f.Length.Seconds())
	if err := k.begin(ctx, p.run, f); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("fault %d, %s, could not be begun: %w", f.Number, f, err)
	}
	left := f.Length
	if k.midway != nil {
		pause(ctx, left/2)
		if err := k.midway(ctx, p.run, f); err != nil {
			return fmt.Errorf("fault %d, %s, midway: %w", f.Number, f, err)
		}
		left -= left / 2
	}
	pause(ctx, left)
	// It is undone also when the run is being ended.
	undo, cancel := context.WithTimeout(context.Background(), undoTimeout)
	defer cancel()
	if err := k.end(undo, p.run, f); err != nil {
		return fmt.Errorf("fault %d, %s, could not be ended: %w", f.Number, f, err)
	}
	note := f.note
	if note != "" {
		note = " (" + note + ")"
	}
	p.run.out.note("fault %3d ended:  %s%s after %.1fs", f.Number, f, note, time.Since(began).Seconds())
	return nil
}

// counted returns the fault's number in the run.
func (p *faults) counted(f Planned) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[f.Kind]++
	p.total++
	p.going = append(p.going, f.String())
	return p.total
}

func (p *faults) over(f Planned) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.going, f.String()); i >= 0 {
		p.going = slices.Delete(p.going, i, i+1)
	}
}

// now returns what goes on, and how many faults there were.
func (p *faults) now() (going []string, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.going), p.total
}

// pause waits; false: ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// claims says what faults have hold of now.
type claims struct {
	mu   sync.Mutex
	held map[string]bool
}

// take waits until all of the list is free and takes it; false: ctx ended first.
func (c *claims) take(ctx context.Context, list []string) (release func(), ok bool) {
	for !c.tryTake(list) {
		if !pause(ctx, 50*time.Millisecond) {
			return nil, false
		}
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, name := range list {
			delete(c.held, name)
		}
	}, true
}

func (c *claims) tryTake(list []string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = map[string]bool{}
	}
	for _, name := range list {
		if c.held[name] {
			return false
		}
	}
	for _, name := range list {
		c.held[name] = true
	}
	return true
}
