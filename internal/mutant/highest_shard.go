//go:build mutant_highest_shard

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_highest_shard"
