package testbed

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed python/chdb_server.py
var chDBScript string

// ChDB is ClickHouse's engine of today as a library in a Python process, behind a small HTTP server of this package's own: no ClickHouse
// server, whose HTTP interface it only looks like where Sluice touches it. It answers one statement at a time and whole.
type ChDB struct {
	*server

	Version  string // the engine's, exact
	password string
}

// ChDBOptions say how to start a ChDB.
type ChDBOptions struct {
	Password string // of the user default; none when empty
	// Dir is the folder in which the instance's folder is made; default the system's temp folder.
	Dir string
	Log Log
}

// StartChDB fetches the package when it is not in the cache, starts it and waits until it listens. The caller must Stop it.
func StartChDB(ctx context.Context, o ChDBOptions) (*ChDB, error) {
	const name = "chdb"
	_, home, err := pythonInstall(ctx, name, o.Log)
	if err != nil {
		unmet(name, err)
		return nil, err
	}
	base, err := newServer(name, o.Dir, name+".log")
	if err != nil {
		return nil, err
	}
	s := &ChDB{server: base, password: o.Password}
	script, ready := filepath.Join(s.dir, "chdb_server.py"), filepath.Join(s.dir, "ready")
	if err := os.WriteFile(script, []byte(chDBScript), 0o644); err != nil {
		return nil, joinStop(fmt.Errorf("write the program around chDB: %w", err), s)
	}
	s.command = func() *exec.Cmd {
		os.Remove(ready)
		cmd := exec.Command("python3", script, s.ip(), strconv.Itoa(s.Port), s.dir, o.Password)
		cmd.Env = append(os.Environ(), "PYTHONPATH="+home, "PYTHONDONTWRITEBYTECODE=1")
		return cmd
	}
	// Only its own process writes its id there, once it listens; who answers on the port may be another.
	s.ready = func(context.Context) error {
		written, err := os.ReadFile(ready)
		if err == nil && strings.TrimSpace(string(written)) != strconv.Itoa(s.child.pid) {
			err = fmt.Errorf("it does not listen yet")
		}
		return err
	}
	if err := s.Start(ctx); err != nil {
		return nil, joinStop(err, s)
	}
	if s.Version, err = s.Query(ctx, "SELECT version()"); err != nil {
		return nil, joinStop(fmt.Errorf("ask chDB for its version: %w", err), s)
	}
	o.Log.printf("chDB %s ready on %s, pid %d", s.Version, s.URL(), s.Pid())
	met(name, s.Version)
	return s, nil
}

// URL is the address of its HTTP interface.
func (s *ChDB) URL() string { return "http://" + s.Address() }

// Query runs one statement and returns what the engine prints, without the last end of line.
func (s *ChDB) Query(ctx context.Context, statement string) (string, error) {
	return httpQuery(ctx, s.URL(), s.password, statement)
}
