// Package system is the test of the whole: real servers, the real binaries as processes of their own, killed where it
// hurts, and every row compared by content afterwards.
package system

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/internal/mutant"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/localbroker"
	"github.com/sluice-cdc/sluice/testbed/localregistry"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// builds are the folders of our programs, by build tags, built once a test run.
var builds = struct {
	sync.Mutex
	dirs map[string]string
}{dirs: map[string]string{}}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, dir := range builds.dirs {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// binary returns the path of one of our programs, built once a test run. tags are build tags ("faultpoints"); where this test was
// built with a mutant, so are they.
func binary(t testing.TB, name, tags string) string {
	t.Helper()
	tags += "," + mutant.Tag
	builds.Lock()
	defer builds.Unlock()
	dir := builds.dirs[tags]
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "sluice-bin-"); err != nil {
			t.Fatal(err)
		}
		builds.dirs[tags] = dir
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	path, err := rig.Build(dir, name, tags)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// bed is a set of servers and of our processes for one test.
type bed struct {
	t        testing.TB
	dir      string
	broker   string
	registry string
}

// newBed starts the local broker and registry. Servers and processes are stopped when the test ends; when it failed, the
// ends of the logs are shown.
func newBed(t testing.TB) *bed {
	t.Helper()
	b := &bed{t: t, dir: t.TempDir()}
	broker, err := localbroker.Start(t.Context(), localbroker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Close() })
	registry, err := localregistry.Start(t.Context(), localregistry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { registry.Close() })
	b.broker, b.registry = broker.Address(), registry.URL()
	return b
}

// mysql starts a server.
func (b *bed) mysql(o testbed.MySQLOptions) (*testbed.MySQL, *sql.DB) {
	b.t.Helper()
	m, err := testbed.StartMySQL(b.t.Context(), o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { m.Stop() })
	db, err := m.Open("app", "")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { db.Close() })
	return m, db
}

// file writes a config file.
func (b *bed) file(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// start starts one of our programs.
func (b *bed) start(name, program, tags string, args []string, env ...string) *rig.Process {
	b.t.Helper()
	p := rig.New(name, filepath.Join(b.dir, name+".log"), binary(b.t, program, tags), args, env...)
	if err := p.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := p.Stop(20 * time.Second); err != nil {
			b.t.Logf("%s: %v", name, err)
		}
		for _, never := range []string{"DATA RACE", "panic:"} { // the first with GOFLAGS=-race
			if at := strings.Index(p.Log(), never); at >= 0 {
				b.t.Errorf("%s: %.2000s", name, p.Log()[at:])
			}
		}
		if b.t.Failed() {
			b.t.Logf("--- the end of %s's log\n%s", name, p.LogTail(40))
		}
	})
	return p
}

// source writes a source.yaml for a server and starts the source. more is added to the file.
func (b *bed) source(m *testbed.MySQL, more string) *rig.Process {
	return b.start("source", "sluice-source", "", []string{"--config", b.sourceConfig(m, more)})
}

func (b *bed) sourceConfig(m *testbed.MySQL, more string) string {
	return b.file("source.yaml", fmt.Sprintf(`name: shop
mysql: {address: %q, user: cdc, password: cdc}
kafka: {brokers: [%q], registry: %q, partitions: 4, replication: 1}
tables:
  - {match: "shop.*"}
%s`, m.Address(), b.broker, b.registry, more))
}

// patience is the least that a test waits for what is to come by itself: a machine that does other work besides must not fail it.
const patience = time.Minute

// eventually asks until the answer is true, or fails the test. The limit is at least patience.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	within = max(within, patience)
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %v: %s", within, what)
}

// exec runs statements.
func exec1(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(context.Background(), s); err != nil {
			t.Fatalf("%.100s: %v", strings.TrimSpace(s), err)
		}
	}
}
