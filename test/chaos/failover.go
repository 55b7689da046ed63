package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

const (
	failoverTimeout = 10 * time.Minute
	// replicaTimeout bounds the wait for the replica, which may be behind by what a fault has held up.
	replicaTimeout = 90 * time.Second
)

// failOver makes the replica the primary, as planned: nothing that the old one has committed is lost. Often the old one
// is killed on the way. Afterwards it is the replica.
func failOver(_ context.Context, r *run, f *active) error {
	// Once begun it is done to the end, also when the fire is over meanwhile.
	ctx, cancel := context.WithTimeout(context.Background(), failoverTimeout)
	defer cancel()
	old, next := r.bed.pair()
	// First while the sessions go on, so that they need not wait long.
	if ok, err := caughtUp(ctx, old, next); err != nil || !ok {
		f.note = tooFarBehind
		return err
	}
	// Waits for commits in progress, and fails those that come later. Also when it has been killed and is back: a session may be
	// about to connect to it.
	if err := old.Exec(ctx, "SET PERSIST super_read_only = ON"); err != nil {
		return fmt.Errorf("make the old primary read-only: %w", err)
	}
	if ok, err := caughtUp(ctx, old, next); err != nil {
		return err
	} else if !ok {
		f.note = tooFarBehind
		return writable(ctx, old)
	}
	if killed := f.random.IntN(3) > 0; killed {
		f.note = "the old primary is killed"
		if err := old.Kill(); err != nil {
			return err
		}
	}
	if err := next.Exec(ctx, "STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL sync_binlog = 1", "SET GLOBAL innodb_flush_log_at_trx_commit = 1"); err != nil {
		return fmt.Errorf("promote the replica: %w", err)
	}
	if err := writable(ctx, next); err != nil {
		return err
	}
	r.bed.mu.Lock()
	r.bed.primary, r.bed.replica = next, old
	r.bed.mu.Unlock()
	r.bed.proxies[atSource].Retarget(next.Address())
	r.bed.proxies[atSource].Break()
	if !old.Running() {
		if err := restart(ctx, old); err != nil {
			return err
		}
	}
	return follow(ctx, next, old)
}

const tooFarBehind = "given up: the replica is too far behind"

// caughtUp waits until the replica has what the primary had when it was called; false: not in time.
func caughtUp(ctx context.Context, primary, replica *testbed.MySQL) (bool, error) {
	ctx, stop := context.WithTimeout(ctx, replicaTimeout)
	defer stop()
	err := testbed.WaitForReplica(ctx, primary, replica)
	if errors.Is(err, context.DeadlineExceeded) {
		return false, nil
	}
	return err == nil, err
}

func writable(ctx context.Context, m *testbed.MySQL) error {
	return m.Exec(ctx, "SET PERSIST super_read_only = OFF", "SET GLOBAL read_only = OFF")
}

// follow makes a server the replica of another. No session may write to it by mistake. It does not wait for its disk at each
// commit, else it would fall behind a primary that commits for many sessions at once; a kill loses nothing of it all the
// same, and as the primary it is durable again.
func follow(ctx context.Context, primary, replica *testbed.MySQL) error {
	statements := []string{"SET PERSIST super_read_only = ON", "SET GLOBAL sync_binlog = 0", "SET GLOBAL innodb_flush_log_at_trx_commit = 2"}
	if replica.Flavor.IsMariaDB() {
		statements[0] = "SET GLOBAL read_only = ON"
	}
	if err := replica.Exec(ctx, statements...); err != nil {
		return err
	}
	return testbed.Replicate(ctx, primary, replica)
}
