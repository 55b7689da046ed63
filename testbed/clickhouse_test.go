package testbed

import (
	"context"
	"testing"
)

// TestClickHouseSurvivesKill: what it has acknowledged is there after a crash, on the same port.
func TestClickHouseSurvivesKill(t *testing.T) {
	for _, name := range []string{"clickhouse", "chdb"} {
		t.Run(name, func(t *testing.T) {
			needsTime(t)
			if err := Available(t.Context(), name); err != nil {
				t.Skip(err)
			}
			var s interface {
				Query(context.Context, string) (string, error)
				Stop() error
				Kill() error
				Start(context.Context) error
			}
			var err error
			if name == "chdb" {
				s, err = StartChDB(t.Context(), ChDBOptions{Password: "p"})
			} else {
				s, err = StartClickHouse(t.Context(), ClickHouseOptions{Password: "p"})
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
			})
			for _, statement := range []string{"CREATE DATABASE d", "CREATE TABLE d.t (a UInt8) ENGINE = MergeTree ORDER BY a", "INSERT INTO d.t VALUES (7)"} {
				if _, err := s.Query(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Query(t.Context(), "SELECT a FROM d.t"); err != nil || got != "7" {
				t.Errorf("after the kill it holds %q, %v", got, err)
			}
			if _, err := s.Query(t.Context(), "SELECT nothing"); err == nil {
				t.Error("an error of the server is none")
			}
		})
	}
}
