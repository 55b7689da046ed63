package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Check looks at the servers without changing anything.
func (t *Target) Check(ctx context.Context, _ string, tables []*change.Table) ([]sink.Finding, error) {
	client, err := t.connect(ctx)
	if err != nil {
		return t.found(err)
	}
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	var found []sink.Finding
	err = t.primaries(ctx, client, func(address string, node rueidis.Client, info map[string]string) error {
		found = append(found, checkNode(address, info)...)
		policy := node.Do(ctx, node.B().ConfigGet().Parameter("appendfsync").Build())
		if fields, err := policy.AsStrMap(); err == nil && info["aof_enabled"] == "1" { // hosted servers do not tell
			found = append(found, sink.Finding{Level: sink.Good, Where: address, What: "appendonly yes, appendfsync " + fields["appendfsync"]})
		}
		return nil
	})
	if err != nil {
		return t.found(err)
	}
	for _, table := range tables {
		p, err := t.config.plan("", table)
		if err != nil {
			var problem *change.Problem
			if !errors.As(err, &problem) {
				return nil, err
			}
			found = append(found, sink.Finding{Level: sink.Wrong, Where: table.String(), What: problem.What, Why: problem.Why, Mend: problem.Mend})
			continue
		}
		found = append(found, sink.Finding{Level: sink.Good, Where: table.String(), What: p.form()})
	}
	return found, nil
}

// found makes a finding of an error that says what mends it.
func (t *Target) found(err error) ([]sink.Finding, error) {
	var p *change.Problem
	if !errors.As(err, &p) {
		return nil, err
	}
	return []sink.Finding{{Level: sink.Wrong, Where: t.where(), What: err.Error(), Why: p.Why, Mend: p.Mend}}, nil
}

// checkNode holds what a node says of itself against what the target needs.
func checkNode(address string, info map[string]string) []sink.Finding {
	name, version := "Redis", info["redis_version"]
	if v := info["valkey_version"]; v != "" {
		name, version = "Valkey", v
	}
	found := []sink.Finding{{Level: sink.Good, Where: address, What: name + " " + version + " answers"}}
	add := func(level sink.Level, what, why, mend string) {
		found = append(found, sink.Finding{Level: level, Where: address, What: what, Why: why, Mend: mend})
	}
	major, _, _ := strings.Cut(info["redis_version"], ".")
	if n, err := strconv.Atoi(major); err == nil && n < versionMin {
		add(sink.Wrong, fmt.Sprintf("Redis %s is older than %d", info["redis_version"], versionMin), "scripts and commands that are used here are missing", "use a newer server")
	}
	if info["role"] == "slave" {
		add(sink.Wrong, "the server is a replica", "it takes no writes", "name the primary in redis.addresses")
	}
	if policy := info["maxmemory_policy"]; info["maxmemory"] != "0" && policy != "noeviction" {
		add(sink.Wrong, "maxmemory-policy is "+policy, "the server removes rows, indexes and the versions of deleted rows when its memory is full, and nobody is told",
			"CONFIG SET maxmemory-policy noeviction, and CONFIG REWRITE")
	}
	if info["aof_enabled"] != "1" {
		add(sink.Warning, "appendonly is no", "a crash loses what was written since the last snapshot; the sink notices, goes back in the log and writes it anew, and readers see older rows until then",
			"CONFIG SET appendonly yes, CONFIG SET appendfsync everysec or always, and CONFIG REWRITE")
	}
	return found
}

// versionMin is the oldest server that is taken.
const versionMin = 6
