package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

// failoverTimeout bounds the wait for the replica, which may be behind by what a fault has held up.
const failoverTimeout = 2 * time.Minute

// failOver makes the replica the primary, as planned: nothing that the old one has committed is lost. Often the old one
// is killed on the way. Afterwards it is the replica.
func failOver(_ context.Context, r *run, f *active) error {
	// Once begun it is done to the end, also when the fire is over meanwhile.
	ctx, cancel := context.WithTimeout(context.Background(), failoverTimeout)
	defer cancel()
	old, next := r.bed.pair()
	// Waits for commits in progress, and fails those that come later.
	if err := old.Exec(ctx, "SET GLOBAL super_read_only = ON"); err != nil {
		return fmt.Errorf("make the old primary read-only: %w", err)
	}
	if err := testbed.WaitForReplica(ctx, old, next); err != nil {
		return err
	}
	if killed := f.random.IntN(3) > 0; killed {
		f.note = "the old primary is killed"
		if err := old.Kill(); err != nil {
			return err
		}
	}
	if err := next.Exec(ctx, "STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"); err != nil {
		return fmt.Errorf("promote the replica: %w", err)
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
	// No session writes to it any more, and none may by mistake.
	if err := old.Exec(ctx, "SET GLOBAL super_read_only = ON"); err != nil {
		return err
	}
	return testbed.Replicate(ctx, next, old)
}
