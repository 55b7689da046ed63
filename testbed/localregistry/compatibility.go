package localregistry

import (
	"fmt"
	"strings"

	"github.com/twmb/avro"
)

// level is one of Confluent's compatibility levels.
type level string

// https://docs.confluent.io/platform/current/schema-registry/fundamentals/schema-evolution.html
const (
	levelNone               level = "NONE"
	levelBackward           level = "BACKWARD"
	levelBackwardTransitive level = "BACKWARD_TRANSITIVE"
	levelForward            level = "FORWARD"
	levelForwardTransitive  level = "FORWARD_TRANSITIVE"
	levelFull               level = "FULL"
	levelFullTransitive     level = "FULL_TRANSITIVE"
)

func parseLevel(text string) (level, bool) {
	switch l := level(strings.ToUpper(text)); l {
	case levelNone, levelBackward, levelBackwardTransitive, levelForward, levelForwardTransitive, levelFull, levelFullTransitive:
		return l, true
	}
	return "", false
}

func (l level) transitive() bool { return strings.HasSuffix(string(l), "_TRANSITIVE") }

// backward: the new schema can read what the old one wrote.
func (l level) backward() bool {
	return strings.HasPrefix(string(l), "BACKWARD") || strings.HasPrefix(string(l), "FULL")
}

// forward: the old schema can read what the new one writes.
func (l level) forward() bool {
	return strings.HasPrefix(string(l), "FORWARD") || strings.HasPrefix(string(l), "FULL")
}

// incompatibilities are the reasons against the new schema after the earlier
// ones, oldest first; none means that the level allows it.
func incompatibilities(l level, earlier []string, next string) ([]string, error) {
	if l == levelNone || len(earlier) == 0 {
		return nil, nil
	}
	if !l.transitive() {
		earlier = earlier[len(earlier)-1:]
	}
	newSchema, err := avro.Parse(next)
	if err != nil {
		return nil, err
	}
	var reasons []string
	for _, text := range earlier {
		oldSchema, err := avro.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("parse a registered schema: %w", err)
		}
		if l.backward() {
			if err := avro.CheckCompatibility(oldSchema, newSchema); err != nil {
				reasons = append(reasons, fmt.Sprintf("the new schema can not read data written with the old one: %v", err))
			}
		}
		if l.forward() {
			if err := avro.CheckCompatibility(newSchema, oldSchema); err != nil {
				reasons = append(reasons, fmt.Sprintf("the old schema can not read data written with the new one: %v", err))
			}
		}
	}
	return reasons, nil
}
