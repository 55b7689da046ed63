package testbed

import (
	"os"
	"testing"
)

// TestPostgres starts two at once; what was committed survives a crash and an end in order, on the same port; nothing is left after Stop.
func TestPostgres(t *testing.T) {
	t.Parallel()
	if err := Available(t.Context(), "postgres"); err != nil {
		t.Skip(err)
	}
	p, err := StartPostgres(t.Context(), PostgresOptions{Durable: true, Settings: []string{"work_mem=5MB"}, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, p)
	other, err := StartPostgres(t.Context(), PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, other)
	ask := func(p *Postgres, statement, want string) {
		t.Helper()
		if got, err := p.psql(t.Context(), "app", statement); err != nil || got != want {
			t.Errorf("%s gives %q (%v), want %q", statement, got, err, want)
		}
	}
	if err := p.Exec(t.Context(), "CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	ask(p, "SHOW work_mem", "5MB")
	ask(p, "SHOW fsync", "on")
	ask(other, "SELECT count(*) FROM pg_class WHERE relname = 't'", "0")
	if err := p.Exec(t.Context(), "INSERT INTO nowhere VALUES (1)"); err == nil {
		t.Error("a statement that fails is no error")
	}
	port := p.Port
	for range 3 {
		killAndStart(t, p)
	}
	ask(p, "SELECT a FROM t", "1")
	if err := p.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask(p, "SELECT a FROM t", "1")
	if p.Port != port {
		t.Errorf("the port has become %d, was %d", p.Port, port)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p.Socket); !os.IsNotExist(err) {
		t.Errorf("its folder is still there: %v", err)
	}
}
