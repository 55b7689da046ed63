package run

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-cdc/sluice/kafka"
)

// parsePattern reads a pattern of topic names: * and ?, or /regular expression/.
func parsePattern(text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, fmt.Errorf(`empty: want a pattern such as "shop.shop.*"`)
	}
	if len(text) > 1 && strings.HasPrefix(text, "/") && strings.HasSuffix(text, "/") {
		p, err := regexp.Compile("^(?:" + text[1:len(text)-1] + ")$")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		return p, nil
	}
	quoted := regexp.QuoteMeta(text)
	quoted = strings.ReplaceAll(quoted, `\*`, ".*")
	quoted = strings.ReplaceAll(quoted, `\?`, ".")
	return regexp.Compile("^" + quoted + "$")
}

func parsePatterns(texts []string) ([]*regexp.Regexp, error) {
	var all []*regexp.Regexp
	for _, text := range texts {
		p, err := parsePattern(text)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// sourceOf returns the source whose table's topic has that name, or "" where it is no table's: a source's own topics
// (shop.checkpoint) have no database, dead letters have it least of all.
func sourceOf(name string) string {
	source, _, found := strings.Cut(name, ".")
	if !found || kafka.ValidatePrefix(source) != nil || strings.Count(name, ".") != 2 {
		return ""
	}
	return source
}

func matches(patterns []*regexp.Regexp, name string) bool {
	if sourceOf(name) == "" {
		return false
	}
	return slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(name) })
}

// incarnation is what makes a topic the same topic.
type incarnation struct {
	id    [16]byte
	count int32
}

// listTopics returns the topics that match, as the cluster has them now.
func listTopics(ctx context.Context, adm *kadm.Client, patterns []*regexp.Regexp) (map[string]incarnation, error) {
	details, err := adm.ListTopics(ctx)
	if err != nil {
		return nil, kafka.Explain(err, "list the topics", "")
	}
	found := make(map[string]incarnation)
	for name, d := range details {
		if d.Err == nil && len(d.Partitions) > 0 && matches(patterns, name) {
			found[name] = incarnation{id: d.ID, count: int32(len(d.Partitions))}
		}
	}
	return found, nil
}
