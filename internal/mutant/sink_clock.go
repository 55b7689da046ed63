//go:build mutant_sink_clock

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_sink_clock"
