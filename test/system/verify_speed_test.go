package system

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// speedRows is so many that what every run costs once (connecting, reading the checkpoint, waiting for the target: some tenths of a
// second) is little beside the rows.
const speedRows = 4_000_000

// TestVerifySpeed holds verify's speed against that of mysqldump --single-transaction > /dev/null of the same table, in pairs, one right
// after the other: by sums of the servers, and with every row hashed here. The ratio counts, for the machine's load swings; what each
// cost in CPU is shown beside it.
func TestVerifySpeed(t *testing.T) {
	if !full() {
		t.Skip("a measurement: SLUICE_FULL=1")
	}
	// In memory on both sides: else the one disk is measured, from which verify has to read two copies of the table and mysqldump one.
	const memory = "innodb-buffer-pool-size=1G"
	b := newVerifyBed(t, speedRows, 100, memory)
	m0, db0 := b.mysql(testbed.MySQLOptions{Flags: []string{memory}})
	b.shards = []*sql.DB{db0}
	if err := (rig.Shop{Database: "shop"}).Empty(t.Context(), db0); err != nil {
		t.Fatal(err)
	}
	b.more(b.shardsConfig("shards", m0), "  - {table: shop.exact, by: owner, rule: modulus}\n")
	b.sink = b.start("shards", "sluice-sink-mysql", "", []string{"--config", b.config})
	if code, out, errs := b.run("wait", "--config", b.config, "--now", "--timeout", "10m"); code != 0 {
		t.Fatalf("wait: exit %d\n%s%s", code, out, errs)
	}
	b.verified(0, "verify", "--table", "shop.exact")
	once := b.stopwatch(b.m, m0)
	report, _ := b.verified(0, "verify", "--table", "shop.products") // five rows: what a run costs once
	t.Logf("a table of %d rows: %s", report.Tables[0].SourceRows, once.read())
	for _, form := range []struct {
		flag  string
		least float64
	}{{"--rows=false", 1}, {"--rows", 0.5}} {
		var ratios []float64
		for range 3 {
			dumping := b.stopwatch(b.m)
			dump := b.dump()
			dumped := dumping.read()
			dumped.own = dump.UserTime() + dump.SystemTime()

			verifying := b.stopwatch(b.m, m0)
			report, _ := b.verified(0, "verify", "--table", "shop.exact", form.flag)
			verified := verifying.read()
			verified.own = b.cpu
			r := report.Tables[0]
			if summed := r.SummedRows == r.SourceRows; r.SourceRows != speedRows || summed != (form.flag == "--rows=false") {
				t.Fatalf("%s: %d rows, %d of them summed up", form.flag, r.SourceRows, r.SummedRows)
			}
			ratio := dumped.seconds / verified.seconds
			ratios = append(ratios, ratio)
			t.Logf("%s: %d rows in %s; mysqldump %s: %.2f times its speed", form.flag, r.SourceRows, verified, dumped, ratio)
		}
		slices.Sort(ratios)
		t.Logf("%s: %.2f times the speed of mysqldump (median of %.2f)", form.flag, ratios[1], ratios)
		if ratios[1] < form.least {
			t.Errorf("%s: %.2f times the speed of mysqldump (median of %.2f), want %.1f", form.flag, ratios[1], ratios, form.least)
		}
	}
}

// dump runs mysqldump of the table, to nowhere.
func (b *verifyBed) dump() *os.ProcessState {
	b.t.Helper()
	nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	defer nowhere.Close()
	var cmd *exec.Cmd
	if cmd, err = b.m.Tool("mysqldump", "--no-defaults", "--protocol=tcp", "-h127.0.0.1", fmt.Sprintf("-P%d", b.m.Port), "-uapp", "-papp",
		"--single-transaction", "--set-gtid-purged=OFF", "--no-tablespaces", "shop", "exact"); err != nil {
		b.t.Fatalf("there is nothing to compare with: %v", err)
	}
	var errs strings.Builder
	cmd.Stdout, cmd.Stderr = nowhere, &errs
	if err := cmd.Run(); err != nil {
		b.t.Fatalf("mysqldump: %v\n%s", err, errs.String())
	}
	return cmd.ProcessState
}

// stopwatch measures the time that passes and the CPU time of servers.
type stopwatch struct {
	t       testing.TB
	servers []*testbed.MySQL
	began   time.Time
	cpu     time.Duration
}

func (b *verifyBed) stopwatch(servers ...*testbed.MySQL) *stopwatch {
	s := &stopwatch{t: b.t, servers: servers}
	s.began, s.cpu = time.Now(), s.all()
	return s
}

func (s *stopwatch) all() (sum time.Duration) {
	s.t.Helper()
	for _, m := range s.servers {
		sum += cpuTime(s.t, m.Pid())
	}
	return sum
}

func (s *stopwatch) read() taken { return taken{time.Since(s.began).Seconds(), s.all() - s.cpu, 0} }

// taken is what something took.
type taken struct {
	seconds      float64
	servers, own time.Duration // of CPU
}

func (t taken) String() string {
	return fmt.Sprintf("%.2f s (CPU: servers %.2f s, itself %.2f s)", t.seconds, t.servers.Seconds(), t.own.Seconds())
}

// cpuTime is what a process has used, as Linux counts it.
func cpuTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	text := readFile(t, fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // the name before may hold blanks; the state is the first
	const user, system, ticksPerSecond = 11, 12, 100
	ticks := 0
	for _, at := range []int{user, system} {
		n, err := strconv.Atoi(fields[at])
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond
}
