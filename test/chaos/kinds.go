package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/proxy"
)

// kind is one kind of fault. begin does it, midway, where there is one, happens after half of its time, and end undoes it; all
// of them are told the fault, which may keep something between them.
type kind struct {
	shape
	mild   bool   // also while verify runs
	needs  string // what the machine must let us have: "hosts", "disk", "clock", "failover"
	begin  func(ctx context.Context, r *run, f *active) error
	midway func(ctx context.Context, r *run, f *active) error
	end    func(ctx context.Context, r *run, f *active) error
}

// active is a fault that is going on.
type active struct {
	Planned
	random *rand.Rand
	server *testbed.MySQL // which one it was when the fault began: the primary may be another one at its end
	host   *testbed.Host
	note   string // what is added to its line in the log
}

// claims of a fault: what no other one may touch meanwhile.
func claim(parts ...string) func(string) []string {
	return func(place string) []string {
		list := make([]string, len(parts))
		for i, p := range parts {
			list[i] = p + place
		}
		return list
	}
}

// fixed are claims that do not depend on the place.
func fixed(list ...string) func(string) []string { return func(string) []string { return list } }

const second = time.Second

// kindsOf is the table of all kinds. The names are those of the log and of KINDS.
func (b *bed) kindsOf() []kind {
	shards := b.shardPlaces()
	proxied := append([]string{atSource, atBroker, atRegistry}, shards...)
	hosts := append([]string{atSource, atReplica, atBroker}, shards...)
	return []kind{
		{shape: shape{"link-down", hosts, 2 * second, 20 * second, claim("link:")}, needs: "hosts", begin: linkDown, end: linkUp},
		{shape: shape{"link-slow", proxied, 5 * second, 25 * second, claim("proxy:")}, mild: true, begin: slow, end: restore},
		{shape: shape{"link-lossy", proxied, 5 * second, 20 * second, claim("proxy:")}, begin: lossy, end: restore},
		{shape: shape{"link-hangs", proxied, 3 * second, 20 * second, claim("proxy:")}, begin: hang, end: restore},
		{shape: shape{"answers-lost", proxied, second, 8 * second, claim("proxy:")}, begin: dropAnswers, end: restore},
		{shape: shape{"connections-reset", proxied, 0, second, claim("proxy:")}, mild: true, begin: reset, end: nothing},
		{shape: shape{"primary-killed", nil, 0, 6 * second, fixed("primary")}, begin: killPrimary, end: startServer},
		{shape: shape{"primary-stands-still", nil, 2 * second, 25 * second, fixed("primary")}, begin: pausePrimary, end: resumeServer},
		{shape: shape{"failover", nil, second, 2 * second, fixed("primary", "replica", "link:source", "link:replica", "clock")}, needs: "failover", begin: failOver, end: nothing},
		{shape: shape{"clock-back", nil, 5 * second, 30 * second, fixed("clock")}, needs: "clock", begin: clockBack, end: clockRight},
		{shape: shape{"clock-a-year-ahead", nil, 5 * second, 30 * second, fixed("clock")}, needs: "clock", begin: clockAhead, end: clockRight},
		{shape: shape{"shard-killed", shards, 0, 5 * second, claim("server:")}, begin: killShard, end: startServer},
		{shape: shape{"target-gone", shards, 5 * second, 25 * second, claim("server:")}, begin: shutShard, end: startServer},
		{shape: shape{"source-killed", nil, 0, second, fixed("source")}, mild: true, begin: killSource, end: nothing},
		{shape: shape{"source-stands-still", nil, 2 * second, 18 * second, fixed("source")}, begin: stopSource, end: contSource},
		{shape: shape{"second-source", nil, 8 * second, 25 * second, fixed("source")}, begin: secondSource, midway: killFirst, end: oneSource},
		{shape: shape{"sink-killed", nil, 0, second, fixed("sinks")}, mild: true, begin: killSinks, end: nothing},
		{shape: shape{"sink-ended", nil, 0, second, fixed("sinks")}, mild: true, begin: endSink, end: nothing},
		{shape: shape{"sink-zombie", nil, sessionTimeout + second, 3 * sessionTimeout, fixed("sinks")}, begin: zombie, end: contSinks},
		{shape: shape{"sinks-1-4-2", nil, 12 * second, 30 * second, fixed("sinks")}, begin: fourSinks, midway: twoSinks, end: oneSink},
		{shape: shape{"broker-killed", nil, 0, 4 * second, fixed("broker")}, begin: killBroker, end: startBroker},
		{shape: shape{"disk-full", nil, 3 * second, 15 * second, fixed("broker")}, needs: "disk", begin: fillDisk, end: freeDisk},
		{shape: shape{"registry-gone", []string{atRegistry}, 3 * second, 20 * second, claim("proxy:")}, begin: cut, end: restore},
		// It keeps its schemas in Kafka, so it cannot start while there is no broker.
		{shape: shape{"registry-killed", nil, 3 * second, 20 * second, fixed("proxy:registry", "broker")}, needs: "registry", begin: killRegistry, end: startRegistry},
	}
}

// kinds are those of this run, and why others are left out, by name.
func (b *bed) kinds() (kinds []kind, left map[string]string, err error) {
	left = map[string]string{}
	all := b.kindsOf()
	for _, name := range append(slices.Clone(b.settings.Kinds), b.settings.Without...) {
		if !slices.ContainsFunc(all, func(k kind) bool { return k.name == name }) {
			return nil, nil, fmt.Errorf("there is no kind of fault %q", name)
		}
	}
	for _, k := range all {
		switch why := b.lacks[k.needs]; {
		case len(b.settings.Kinds) > 0 && !slices.Contains(b.settings.Kinds, k.name), slices.Contains(b.settings.Without, k.name):
			left[k.name] = "not asked for"
		case k.needs != "" && why != "":
			left[k.name] = why
		default:
			kinds = append(kinds, k)
		}
	}
	return kinds, left, nil
}

func nothing(context.Context, *run, *active) error { return nil }

// The network.

func linkDown(ctx context.Context, r *run, f *active) error {
	f.host = r.bed.host(f.Place)
	f.note = f.host.Name
	return f.host.Down(ctx)
}

func linkUp(ctx context.Context, _ *run, f *active) error { return f.host.Up(ctx) }

func slow(_ context.Context, r *run, f *active) error {
	d := time.Duration(20+f.random.IntN(280)) * time.Millisecond
	f.note = d.String()
	r.bed.proxies[f.Place].Delay(d)
	return nil
}

func lossy(_ context.Context, r *run, f *active) error {
	link := proxy.Link{BytesPerSecond: 1 << (18 + f.random.IntN(5)), Loss: 0.002 + 0.02*f.random.Float64(), Reset: 0.0001 * f.random.Float64()}
	f.note = fmt.Sprintf("%d KiB/s, %.1f %% lost", link.BytesPerSecond>>10, 100*link.Loss)
	r.bed.proxies[f.Place].Lossy(f.random.Uint64(), link)
	return nil
}

func hang(_ context.Context, r *run, f *active) error { r.bed.proxies[f.Place].Hang(); return nil }

func dropAnswers(_ context.Context, r *run, f *active) error {
	r.bed.proxies[f.Place].DropAnswers()
	return nil
}

func reset(_ context.Context, r *run, f *active) error { r.bed.proxies[f.Place].Break(); return nil }

func cut(_ context.Context, r *run, f *active) error { r.bed.proxies[f.Place].Cut(); return nil }

func restore(_ context.Context, r *run, f *active) error {
	r.bed.proxies[f.Place].Restore()
	return nil
}

// The servers.

func killPrimary(_ context.Context, r *run, f *active) error {
	f.server, _ = r.bed.pair()
	return f.server.Kill()
}

func startServer(ctx context.Context, _ *run, f *active) error { return restart(ctx, f.server) }

func pausePrimary(_ context.Context, r *run, f *active) error {
	f.server, _ = r.bed.pair()
	return f.server.Pause()
}

func resumeServer(_ context.Context, _ *run, f *active) error { return f.server.Resume() }

func killShard(_ context.Context, r *run, f *active) error {
	f.server = r.bed.server(f.Place)
	return f.server.Kill()
}

func shutShard(_ context.Context, r *run, f *active) error {
	f.server = r.bed.server(f.Place)
	return f.server.Shutdown()
}

func killBroker(_ context.Context, r *run, _ *active) error { return r.bed.kafka.Kill() }

func startBroker(ctx context.Context, r *run, _ *active) error {
	if r.bed.kafka.Running() {
		return nil
	}
	return restart(ctx, r.bed.kafka)
}

func killRegistry(_ context.Context, r *run, _ *active) error { return r.bed.registry.Kill() }

func startRegistry(ctx context.Context, r *run, _ *active) error { return restart(ctx, r.bed.registry) }

// fillDisk lets the broker find no space. It may end by itself then, as Kafka does when its only log folder fails.
func fillDisk(_ context.Context, r *run, _ *active) error { return r.bed.disk.Fill() }

func freeDisk(ctx context.Context, r *run, f *active) error {
	if err := r.bed.disk.Free(); err != nil {
		return err
	}
	// A broker that has found the disk full ends, and may take a moment for it.
	for range 50 {
		if !r.bed.kafka.Running() {
			f.note = "the broker had ended"
			return restart(ctx, r.bed.kafka)
		}
		time.Sleep(second / 10)
	}
	return nil
}

// The clock of the primary.

func clockBack(_ context.Context, r *run, f *active) error {
	return moveClock(r, f, -time.Duration(1+f.random.IntN(7200))*second)
}

func clockAhead(_ context.Context, r *run, f *active) error { return moveClock(r, f, 365*24*time.Hour) }

func moveClock(r *run, f *active, by time.Duration) error {
	f.server, _ = r.bed.pair()
	f.note = by.String()
	return f.server.SetClock(by)
}

func clockRight(_ context.Context, _ *run, f *active) error { return f.server.SetClock(0) }

// Our programs.

func killSource(_ context.Context, r *run, _ *active) error { return r.programs.source.Kill() }

func stopSource(_ context.Context, r *run, _ *active) error {
	return r.programs.source.Signal(syscall.SIGSTOP)
}

func contSource(_ context.Context, r *run, _ *active) error {
	return r.programs.source.Signal(syscall.SIGCONT)
}

// secondSource starts a source of the same name beside the first.
func secondSource(_ context.Context, r *run, _ *active) error { return r.programs.second.want(true) }

// killFirst lets the second take over, every other time.
func killFirst(_ context.Context, r *run, f *active) error {
	if f.random.IntN(2) == 0 {
		return nil
	}
	r.out.note("      the first source is killed, the second takes over")
	r.programs.source.wanted.Store(false)
	return r.programs.source.Kill()
}

// oneSource starts the first again, where it was killed, and takes the second away.
func oneSource(_ context.Context, r *run, _ *active) error {
	if err := r.programs.source.want(true); err != nil {
		return err
	}
	return r.programs.second.want(false)
}

func (r *run) runningSinks() []*program {
	var list []*program
	for _, s := range r.programs.sinks {
		if s.wanted.Load() {
			list = append(list, s)
		}
	}
	return list
}

func killSinks(_ context.Context, r *run, _ *active) error {
	for _, s := range r.runningSinks() {
		if err := s.Kill(); err != nil {
			return err
		}
	}
	return nil
}

// endSink ends a sink in good order; its supervisor starts it again.
func endSink(_ context.Context, r *run, _ *active) error {
	return r.programs.sinks[0].Signal(syscall.SIGTERM)
}

// zombie stops a sink for longer than its group waits for it, while another one takes its partitions over.
func zombie(_ context.Context, r *run, _ *active) error {
	if err := r.programs.sinks[1].want(true); err != nil {
		return err
	}
	return r.programs.sinks[0].Signal(syscall.SIGSTOP)
}

func contSinks(_ context.Context, r *run, _ *active) error {
	if err := r.programs.sinks[0].Signal(syscall.SIGCONT); err != nil {
		return err
	}
	time.Sleep(second) // for its late writes
	return r.programs.sinks[1].want(false)
}

func fourSinks(_ context.Context, r *run, _ *active) error {
	for _, s := range r.programs.sinks {
		if err := s.want(true); err != nil {
			return err
		}
	}
	return nil
}

func twoSinks(_ context.Context, r *run, _ *active) error {
	r.out.note("      two of the four sinks end")
	for _, s := range r.programs.sinks[2:] {
		if err := s.want(false); err != nil {
			return err
		}
	}
	return nil
}

func oneSink(_ context.Context, r *run, _ *active) error {
	for _, s := range r.programs.sinks[1:] {
		if err := s.want(false); err != nil {
			return err
		}
	}
	return nil
}
