package run

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink"
)

// learnSettings asks for the topic's settings where they are not known yet. Without the right to read them, what
// depends on them is left out on the safe side: no before image is trusted.
func (s *Sink) learnSettings(ctx context.Context, t *topic) error {
	if _, known := t.logSettings(); known {
		return nil
	}
	settings, err := describeSettings(ctx, s.admin, t.name)
	if errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed) {
		s.log.Warn("the topic's settings cannot be read: how far the sink may fall behind is not checked, "+
			"and every move between shards looks at all of them",
			"topic", t.name, "mend", "grant DescribeConfigs on the topic")
		return nil
	}
	if err != nil {
		return kafka.Explain(err, "read the settings of a topic", t.name)
	}
	t.setSettings(settings)
	return nil
}

func describeSettings(ctx context.Context, adm *kadm.Client, name string) (*sink.LogSettings, error) {
	all, err := adm.DescribeTopicConfigs(ctx, name)
	if err != nil {
		return nil, err
	}
	described, err := all.On(name, nil)
	if err == nil {
		err = described.Err
	}
	if err != nil {
		return nil, err
	}
	settings := &sink.LogSettings{}
	for _, c := range described.Configs {
		value := c.MaybeValue()
		switch c.Key {
		case "cleanup.policy":
			settings.Compacted = strings.Contains(value, "compact")
		case "min.compaction.lag.ms":
			settings.MinCompactionLag, err = parseMillis(value)
		case "delete.retention.ms":
			settings.DeleteRetention, err = parseMillis(value)
		}
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", c.Key, name, err)
		}
	}
	return settings, nil
}

// maxMillis is the longest time a Duration holds; topics are set to more to say "for ever".
const maxMillis = int64(1<<63-1) / int64(time.Millisecond) / 4

func parseMillis(text string) (time.Duration, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	return time.Duration(min(n, maxMillis)) * time.Millisecond, err
}
