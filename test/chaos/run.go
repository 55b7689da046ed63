package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

// run is one run.
type run struct {
	settings Settings
	out      *output
	dir      string
	bed      *bed
	programs *programs
	sessions *sessions
	crawls   *crawls
	faults   *faults
	history  *histories

	harsh, mild *Planner
	left        map[string]string // kinds of faults that are left out, and why

	// What the last line says. Only the goroutine of Run touches them.
	changes       int64
	compared      int64
	differences   int64
	comparisons   int
	verified      int
	verifyRetries int
}

// Result is what a run has come to.
type Result struct {
	Sessions, Faults, Kinds int
	Changes, Compared       int64
	Differences             int64
	ByKind                  map[string]int
	Evidence                string // the folder, where something was found
	Broken                  bool   // the run did not come to its end
}

// String is the line with which a run ends.
func (r Result) String() string {
	broken := ""
	if r.Broken {
		broken = "NOT AT ITS END, and so no result: "
	}
	return broken + fmt.Sprintf("sessions %d faults %d kinds %d changes %d reads-compared %d differences %d",
		r.Sessions, r.Faults, r.Kinds, r.Changes, r.Compared, r.Differences)
}

// Run plays a run, says what goes on, and cleans up. The error is nil when the run came to its end and nothing differs.
func Run(ctx context.Context, s Settings, to io.Writer) (result Result, err error) {
	dir, remove, err := makeFolder()
	if err != nil {
		return result, err
	}
	defer remove()
	out, err := newOutput(to, dir)
	if err != nil {
		return result, err
	}
	defer out.close()
	out.note("torture: %s", s)
	r := &run{settings: s, out: out, dir: dir}
	err = r.play(ctx)
	evidence := ""
	switch {
	case err == nil:
	case ctx.Err() != nil:
		out.note("ended from outside")
	default:
		out.note("STOPPED: %v", err)
		evidence = r.keepEvidence(err)
		out.note("the evidence is in %s", evidence)
	}
	if e := r.end(); err == nil {
		err = e
	}
	result = r.result()
	result.Evidence, result.Broken = evidence, err != nil
	r.table(result)
	return result, err
}

// play is the run from the first server to the last comparison.
func (r *run) play(ctx context.Context) (err error) {
	bin := filepath.Join(r.dir, "bin")
	err = both(ctx, func(ctx context.Context) (err error) {
		r.bed, err = newBed(ctx, r.settings, r.dir, r.out)
		return err
	}, func(ctx context.Context) error { return buildPrograms(ctx, bin) })
	if err != nil {
		return err
	}
	kinds, left, err := r.bed.kinds()
	if err != nil {
		return err
	}
	r.prepare(kinds, left)
	if err := r.bed.load(ctx); err != nil {
		return err
	}
	if r.programs, err = r.bed.configure(bin); err != nil {
		return err
	}
	if r.history, err = r.newHistories(ctx); err != nil {
		return err
	}
	if err := errors.Join(r.programs.source.want(true), r.programs.sinks[0].want(true)); err != nil {
		return err
	}
	if err := r.programs.reading(ctx); err != nil {
		return err
	}
	return r.fire(ctx)
}

// prepare makes what needs no server.
func (r *run) prepare(kinds []kind, left map[string]string) {
	r.left = left
	why := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		why[left[name]] = append(why[left[name]], name)
	}
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		r.out.note("left out: %s (%s)", strings.Join(why[reason], ", "), reason)
	}
	r.faults = &faults{run: r, kinds: map[string]kind{}, counts: map[string]int{}}
	var all, mild []shape
	for _, k := range kinds {
		r.faults.kinds[k.name] = k
		all = append(all, k.shape)
		if k.mild {
			mild = append(mild, k.shape)
		}
	}
	r.harsh, r.mild = newPlanner(r.settings.Seed, 1, all), newPlanner(r.settings.Seed, 2, mild)
	r.sessions = newSessions(r.settings, func() *testbed.MySQL { p, _ := r.bed.pair(); return p })
	r.crawls = &crawls{run: r, random: rand.New(rand.NewPCG(r.settings.Seed, 3))}
}

// fire is the time in which everything goes on at once. Sessions, crawls, supervisors and lookers-on end with it.
func (r *run) fire(ctx context.Context) error {
	going, stop := context.WithCancelCause(ctx)
	supervising, stopSupervising := context.WithCancel(ctx)
	var wg, supervisor sync.WaitGroup
	supervisor.Go(func() { r.programs.supervise(supervising) })
	wg.Go(func() {
		if err := r.sessions.run(going); err != nil {
			stop(fmt.Errorf("a session met an error that belongs to no fault: %w", err))
		}
	})
	wg.Go(func() { r.progress(going) })
	wg.Go(func() {
		if err := r.history.watch(going); err != nil {
			stop(err)
		}
	})
	wg.Go(func() { r.watchFindings(going, stop) })
	err := r.rounds(going)
	if cause := context.Cause(going); cause != nil && ctx.Err() == nil {
		err = cause
	}
	stop(nil)
	wg.Wait()
	if err == nil { // nobody writes any more
		err = r.compare(ctx)
	}
	if err == nil {
		err = r.history.check(ctx)
	}
	stopSupervising()
	supervisor.Wait()
	return err
}

// watchFindings ends the fire when a supervisor has found what it cannot mend.
func (r *run) watchFindings(ctx context.Context, stop context.CancelCauseFunc) {
	for pause(ctx, 500*time.Millisecond) {
		if err := r.programs.found(); err != nil {
			stop(err)
			return
		}
	}
}

// rounds are fire, verify, and comparison, again and again until the time is over. The comparison after the last round is the
// caller's.
func (r *run) rounds(ctx context.Context) error {
	began := time.Now()
	for n := 1; ; n++ {
		left := r.settings.Duration - time.Since(began)
		// A last round that would be a short one is added to this one.
		last := left < r.settings.Compare*3/2
		length := r.settings.Compare
		if last {
			length = max(left, r.settings.Compare/4)
		}
		// The short run has no time for more than one verify.
		if err := r.round(ctx, n, length, last || !r.settings.Short); err != nil || last {
			return err
		}
		if err := r.compare(ctx); err != nil {
			return err
		}
	}
}

// verifyShare is the part of a round in which faults are mild and verify runs.
const verifyShare = 0.25

func (r *run) round(ctx context.Context, n int, length time.Duration, verify bool) error {
	crawling, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.crawls.play(crawling) })
	defer func() { stop(); wg.Wait() }()
	gentle := time.Duration(0)
	if verify {
		gentle = time.Duration(float64(length) * verifyShare)
	}
	r.out.note("round %d: %s of faults, %s of milder ones at least while verify runs", n, (length - gentle).Round(second), gentle.Round(second))
	if err := r.faults.play(ctx, r.harsh.Round(length-gentle, r.settings.FaultGap, r.settings.AtOnce)); err != nil {
		return err
	}
	if verify {
		if err := r.verifyUnderFire(ctx, gentle); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// verifyPatience bounds a verify under fire. It has to wait for a target that faults have held up.
const verifyPatience = 6 * time.Minute

// mildGap is the time from one mild fault to the next, on average: verify has to wait for the target after each.
const mildGap = 12 * time.Second

// verifyUnderFire runs verify while mild faults go on, which they do for so long at least, and sessions write at a calmer rate.
func (r *run) verifyUnderFire(ctx context.Context, least time.Duration) error {
	patience := verifyPatience
	if r.settings.Short {
		patience = 35 * time.Second
	}
	ctx, enough := context.WithTimeout(ctx, patience)
	defer enough()
	r.sessions.calm.Store(true)
	defer r.sessions.calm.Store(false)
	verified := make(chan error, 1)
	go func() { verified <- r.verifyLive(ctx) }()
	for {
		if err := r.faults.play(ctx, r.mild.Round(least, mildGap, 2)); err != nil {
			enough()
			return errors.Join(err, <-verified)
		}
		select {
		case err := <-verified:
			return err
		default: // a little longer
		}
		if !pause(ctx, second) {
			return <-verified
		}
	}
}

// progress says how far the run is.
func (r *run) progress(ctx context.Context) {
	every := 30 * time.Second
	if r.settings.Short {
		every = 10 * time.Second
	}
	began := time.Now()
	var before int64
	for pause(ctx, every) {
		going, total := r.faults.now()
		changes := r.sessions.changes.Load()
		lag, delay := "?", "?"
		if said, err := r.programs.source.status(ctx); err == nil {
			delay = fmt.Sprintf("%.1fs", said.DelaySeconds)
		}
		var records int64
		for _, s := range r.runningSinks() {
			if said, err := s.status(ctx); err == nil {
				records += said.LagRecords
				lag = fmt.Sprint(records)
			}
		}
		r.out.note("%s: about %d changes (%d/s), %d conflicts, %d redials, %d faults, %d crawls asked for, lag %s records, delay %s, going on: %s",
			time.Since(began).Round(time.Second), changes, (changes-before)/int64(every/time.Second), r.sessions.conflicts.Load(), r.sessions.redials.Load(),
			total, r.crawls.asked.Load(), lag, delay, strings.Join(going, ", "))
		before = changes
	}
}

// end stops what still runs.
func (r *run) end() error {
	var errs []error
	if r.programs != nil {
		errs = append(errs, r.programs.stop())
		if err := r.programs.crashes(); err != nil {
			errs = append(errs, err)
		}
	}
	if r.bed != nil {
		errs = append(errs, r.bed.close())
	}
	return errors.Join(errs...)
}

func (r *run) result() Result {
	result := Result{Sessions: r.settings.Sessions, Changes: r.changes, Compared: r.compared, Differences: r.differences, ByKind: map[string]int{}}
	if r.faults != nil {
		r.faults.mu.Lock()
		defer r.faults.mu.Unlock()
		result.Faults, result.Kinds = r.faults.total, len(r.faults.counts)
		maps.Copy(result.ByKind, r.faults.counts)
	}
	return result
}

// table says how many faults of each kind there were, and what else happened, in a form for docs/evidence.md.
func (r *run) table(result Result) {
	if r.faults == nil || r.programs == nil {
		return
	}
	var text strings.Builder
	text.WriteString("\n| kind of fault | times |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(result.ByKind)) {
		fmt.Fprintf(&text, "| %s | %d |\n", name, result.ByKind[name])
	}
	r.out.note("%s", text.String())
	restarts := []string{}
	for _, p := range r.programs.all() {
		restarts = append(restarts, fmt.Sprintf("%s %d", p.Name, p.restarts.Load()))
	}
	r.out.note("comparisons under a read lock %d, live by verify %d (%d more could not tell), crawls asked for %d (%d in vain), restarts by supervisors: %s; "+
		"sessions: %d conflicts, %d redials, %d commits without an answer", r.comparisons, r.verified, r.verifyRetries, r.crawls.asked.Load(), r.crawls.failed.Load(),
		strings.Join(restarts, ", "), r.sessions.conflicts.Load(), r.sessions.redials.Load(), r.sessions.unknown.Load())
	if r.history != nil {
		r.out.note("%s", r.history.said)
	}
}

// evidenceName is the folder of a run's evidence.
func (r *run) evidenceName() string {
	return filepath.Join(r.settings.Evidence, fmt.Sprintf("seed-%d-%s", r.settings.Seed, time.Now().UTC().Format("20060102-150405")))
}
