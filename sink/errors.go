package sink

import "fmt"

// OwnershipLost is what Apply returns when the progress stored for the partition is not what the batch
// builds on: another owner has taken the partition over, or an earlier try of this very batch was committed
// although its outcome did not arrive. Nothing of the batch was applied by this call. The runtime drops what it
// holds of the partition, assigns it anew if Kafka still gives it to us, and reads on from there.
type OwnershipLost struct {
	Partition Partition
	Shard     string
	Epoch     int64 // what the batch carried
	Err       error // the cause, may be nil
}

// Error names the partition, the shard and the epoch.
func (e *OwnershipLost) Error() string {
	s := fmt.Sprintf("ownership of %s lost (epoch %d", e.Partition, e.Epoch)
	if e.Shard != "" {
		s += ", shard " + e.Shard
	}
	s += ")"
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *OwnershipLost) Unwrap() error { return e.Err }

// Refused names the one change of a batch that the target cannot take. Nothing of the batch was applied.
// Err is a change.Problem of kind Poison that says why and what mends it.
type Refused struct {
	Offset int64
	Err    error
}

// Error names the offset.
func (e *Refused) Error() string { return fmt.Sprintf("offset %d: %v", e.Offset, e.Err) }

// Unwrap returns the reason.
func (e *Refused) Unwrap() error { return e.Err }
