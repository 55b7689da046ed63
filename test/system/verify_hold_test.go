package system

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// TestVerifyHold compares while the source is held: a replica whose applier stands still, and goes on afterwards, after ^C too; and a
// server that nobody can commit on.
func TestVerifyHold(t *testing.T) {
	b := &verifyBed{bed: newBed(t), shop: rig.Shop{Database: "shop", Rows: 3_000}}
	primary, db, replica, replicaDB := b.pair()
	if err := b.shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if err := testbed.WaitForReplica(t.Context(), primary, replica); err != nil {
		t.Fatal(err)
	}
	b.m, b.source = replica, replicaDB
	b.bed.source(replica, "")
	shard, shardDB := b.mysql(testbed.MySQLOptions{})
	if err := b.shop.Empty(t.Context(), shardDB); err != nil {
		t.Fatal(err)
	}
	b.more(b.shardsConfig("shards", shard), "")
	b.config = b.file("hold.yaml", strings.Replace(readFile(t, b.config), "user: cdc, password: cdc", "user: app, password: app", 1))
	b.start("shards", "sluice-sink-mysql", "", []string{"--config", b.config})

	writer := &rig.Writer{DB: db, Shop: b.shop, Connections: 4, PerSecond: 200, Seed: seed(t)}
	ctx, stop := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	writing.Go(func() {
		if err := writer.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer writing.Wait()
	defer stop()
	applies := func() bool {
		s, err := replica.ReplicaStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.SQLRunning
	}
	for _, hold := range []string{"replica", "read-lock"} {
		report, found := b.verified(0, "verify", "--hold", hold)
		if len(found) > 0 || report.Undecided > 0 || len(report.Tables) != 4 {
			t.Errorf("held by %s: %d undecided, %q differ", hold, report.Undecided, found)
		}
		for _, r := range report.Tables {
			if r.SourceRows != r.TargetRows && hold == "replica" {
				t.Logf("%s: %d rows, %d at the target, %d looked at again", r.Table, r.SourceRows, r.TargetRows, r.LookedAgain)
			}
		}
		if !applies() {
			t.Fatalf("after --hold %s the replica does not apply", hold)
		}
	}

	// Stopped in the middle, it lets go all the same.
	p := b.start("stopped", "sluice-sink-mysql", "", []string{"verify", "--config", b.config, "--hold", "replica", "--rate", "50"})
	eventually(t, 20*time.Second, "the replica is held", func() bool { return !applies() })
	if err := p.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := b.ends(p, 20*time.Second); code != 1 {
		t.Errorf("stopped: exit %d\n%s", code, p.LogTail(10))
	}
	if !applies() {
		t.Error("after ^C the replica does not apply")
	}
	b.config = b.file("primary.yaml", strings.Replace(readFile(t, b.config), replica.Address(), primary.Address(), 1))
	if code, _, errs := b.run("verify", "--config", b.config, "--hold", "replica"); code != 2 || !strings.Contains(errs, "is no replica that applies changes") {
		t.Errorf("a primary held as a replica: exit %d\n%s", code, errs)
	}
	if code, _, errs := b.run("verify", "--config", b.config); code != 2 || !strings.Contains(errs, "name the server that the source reads") {
		t.Errorf("verify against another server than the source's: exit %d\n%s", code, errs)
	}
}
