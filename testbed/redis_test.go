package testbed

import (
	"context"
	"testing"
	"time"
)

func TestRedisSurvivesKill(t *testing.T) {
	for _, kind := range []RedisKind{Redis, Valkey} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			if err := Available(t.Context(), string(kind)); err != nil {
				t.Skip(err)
			}
			s, err := StartRedis(t.Context(), RedisOptions{Kind: kind, Settings: map[string]string{"appendonly": "yes", "appendfsync": "always"}})
			if err != nil {
				t.Fatal(err)
			}
			stopAtEnd(t, s)
			if _, err := s.Do(t.Context(), "SET", "a", "1\r\n2"); err != nil {
				t.Fatal(err)
			}
			killAndStart(t, s)
			if got, err := s.Do(t.Context(), "GET", "a"); err != nil || got != "1\r\n2" {
				t.Errorf("after the kill it holds %q, %v", got, err)
			}
			if _, err := s.Do(t.Context(), "NO_SUCH"); err == nil {
				t.Error("an error of the server is none")
			}
		})
	}
}

func TestRedisCluster(t *testing.T) {
	if err := Available(t.Context(), "redis"); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster, err := StartRedisCluster(ctx, 3, RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range cluster {
		stopAtEnd(t, s)
	}
	if _, err := cluster[0].Do(ctx, "SET", "{b}", "1"); err != nil { // slot 3300
		t.Error(err)
	}
	if _, err := cluster[2].Do(ctx, "SET", "{b}", "1"); err == nil {
		t.Error("a node takes a key of another's slot")
	}
}
