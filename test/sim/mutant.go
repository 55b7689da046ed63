package sim

// Mutant is an error that is planted in the simulation, to see that it would be noticed.
type Mutant string

// The mutants.
const (
	None              Mutant = ""
	NoWait            Mutant = "R4 step 2: no wait"
	NoRemember        Mutant = "R4 step 1: keys are not remembered while the rows are read"
	NoStrike          Mutant = "R4 step 4: events do not strike"
	HighExecuted      Mutant = "R4 step 4: the high mark is gtid_executed"
	NoFence           Mutant = "R2: no fence"
	ReadBeforeFence   Mutant = "R2: the checkpoint is read before the fence"
	CheckpointApart   Mutant = "R2: the checkpoint is not in the transaction"
	NoSubset          Mutant = "R2: what was published is not held against what the server has"
	SinkClock         Mutant = "R5: versions are the sink's clock"
	Replace           Mutant = "R5: every holder is deleted, as REPLACE does"
	DeleteUnversioned Mutant = "R5: deletes win without a version"
	OffsetsFirst      Mutant = "R6: offsets are committed before the batch is applied"
	NoTargetFence     Mutant = "R6: neither epoch nor offset is compared"
	TrustBefore       Mutant = "R7: every before image is trusted"
	DoubtUnsaid       Mutant = "R7: doubt is not said"
	DoubtForgotten    Mutant = "R7: a start forgets the doubt"
	DoubtCancelled    Mutant = "R7: the doubt ends with a crawl that is given up"
)

// Mutants are all of them.
var Mutants = []Mutant{
	NoWait, NoRemember, NoStrike, HighExecuted, NoFence, ReadBeforeFence, CheckpointApart, NoSubset, SinkClock, Replace,
	DeleteUnversioned, OffsetsFirst, NoTargetFence, TrustBefore,
	DoubtUnsaid, DoubtForgotten, DoubtCancelled,
}

// matters says where a mutant matters, where it does not matter everywhere.
func (m Mutant) matters(s *setting) {
	switch m {
	case DeleteUnversioned, OffsetsFirst:
		s.target = withoutProgress
	case NoTargetFence, Replace:
		s.target = leanTarget
	case TrustBefore:
		s.target = withShards
	case DoubtUnsaid, DoubtForgotten, DoubtCancelled:
		s.target, s.silent, s.loose = withShards, true, false
	}
}
