package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// postgresMajor is what Debian bookworm has.
const postgresMajor = "15"

// postgresPackage leaves out what only the packaging and compiled expressions
// (jit, which is off) need. The C library is the host's: bookworm's or later.
var postgresPackage = debianRoot{
	suite:    "bookworm",
	packages: []string{"postgresql-" + postgresMajor},
	assumed: append([]string{
		"locales", "locales-all", "postgresql-common", "postgresql-client-common", "ssl-cert", "tzdata", "libllvm14", "libc6", "libgcc-s1",
		"netbase", "ucf", "sysstat", "libpam-modules", "libpam-runtime",
	}, packagingOnly...),
	size: "about 35 MB",
}

// PostgresOptions say how to start a PostgreSQL.
type PostgresOptions struct {
	// Durable makes each commit survive a crash of the machine (fsync=on). Without
	// it a commit survives a kill of the server, not a power cut.
	Durable bool
	// Settings are lines of postgresql.conf and win over this package's:
	// "deadlock_timeout=50ms".
	Settings []string
	// Dir is the folder in which the instance's folder is made; default the
	// system's temp folder.
	Dir string
	Log Log
}

// Postgres is a running server. It has the superuser postgres and the user app,
// who owns the database app; both come in from this machine without a password.
type Postgres struct {
	*server

	// Version is as the server prints it: 15.14 (Debian 15.14-0+deb12u1).
	Version string
	// Socket is the folder of the server's own Unix socket.
	Socket string

	home      string
	socketDir string // removed by Stop; empty when the socket lies in dir
}

// StartPostgres fetches the server when it is not in the cache, starts it and
// waits until it answers. The caller must Stop it.
func StartPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	home, version, err := postgresInstall(ctx, o.Log)
	if err != nil {
		unmet("postgres", err)
		return nil, err
	}
	base, err := newServer("postgres", o.Dir, "postgres.log")
	if err != nil {
		return nil, err
	}
	base.stopSignal = syscall.SIGINT // SIGTERM waits until the last client has gone
	p := &Postgres{server: base, Version: version, home: home}
	if err := p.prepare(ctx, o); err != nil {
		return nil, joinStop(fmt.Errorf("prepare PostgreSQL %s: %w", version, err), p)
	}
	if err := p.Start(ctx); err != nil {
		return nil, joinStop(err, p)
	}
	if err := p.makeUser(ctx); err != nil {
		return nil, joinStop(err, p)
	}
	o.Log.printf("PostgreSQL %s ready on %s, pid %d", p.Version, p.Address(), p.Pid())
	met("postgres", p.Version)
	return p, nil
}

// postgresInstall fetches the packages and makes the template data folder that
// every instance copies.
func postgresInstall(ctx context.Context, log Log) (home, version string, err error) {
	home, err = cached(ctx, "postgres-"+postgresMajor, log, func(ctx context.Context, dir string) error {
		if err := postgresPackage.unpack(ctx, dir, log); err != nil {
			return fmt.Errorf("fetch PostgreSQL: %w", err)
		}
		log.printf("initializing the template data folder of PostgreSQL")
		initdb := postgresCommand(dir, "initdb", "--pgdata="+filepath.Join(dir, "template"), "--username=postgres", "--auth=trust",
			"--encoding=UTF8", "--locale=C", "--no-sync", "--wal-segsize=4")
		if err := runQuietly(ctx, initdb, nil); err != nil {
			return fmt.Errorf("make the template of PostgreSQL: %w", err)
		}
		return nil
	})
	if err != nil {
		return "", "", err
	}
	output, err := postgresCommand(home, "postgres", "--version").CombinedOutput()
	if err != nil {
		return "", "", fmt.Errorf("ask PostgreSQL for its version: %w: %s", err, output)
	}
	match := postgresVersionPattern.FindSubmatch(output)
	if match == nil {
		return "", "", fmt.Errorf("PostgreSQL calls its version %q; remove %s", output, home)
	}
	return home, string(match[1]), nil
}

var postgresVersionPattern = regexp.MustCompile(`\(PostgreSQL\) (` + postgresMajor + `\.[0-9]+)`)

// postgresCommand runs one of the programs, which finds its own files beside it,
// by the libraries that were fetched with it, as somebody who is not root.
func postgresCommand(home, program string, args ...string) *exec.Cmd {
	root := filepath.Join(home, "root")
	libraries := debianArchitecture[runtime.GOARCH].libraries
	cmd := exec.Command(filepath.Join(root, "usr/lib/postgresql", postgresMajor, "bin", program), args...)
	cmd.Env = []string{
		"LD_LIBRARY_PATH=" + filepath.Join(root, "usr/lib", libraries) + ":" + filepath.Join(root, "lib", libraries),
		"LC_ALL=C", "PATH=" + os.Getenv("PATH"),
	}
	cmd.SysProcAttr = unprivilegedAttributes()
	return cmd
}

func (p *Postgres) prepare(ctx context.Context, o PostgresOptions) error {
	data := filepath.Join(p.dir, "data")
	if err := copyFolder(filepath.Join(p.home, "template"), data); err != nil {
		return fmt.Errorf("copy the template: %w", err)
	}
	if err := os.Chmod(data, 0o700); err != nil { // it refuses a folder that others may enter
		return err
	}
	p.Socket = p.dir
	if len(p.Socket) > socketPathMax-len("/.s.PGSQL.65535") {
		short, err := os.MkdirTemp("/tmp", "sluice-")
		if err != nil {
			return fmt.Errorf("make a folder with a path short enough for a socket: %w", err)
		}
		p.socketDir, p.Socket = short, short
	}
	settings := []string{
		"listen_addresses=127.0.0.1", fmt.Sprintf("port=%d", p.Port), "unix_socket_directories=" + p.Socket,
		"shared_buffers=32MB", "max_wal_size=256MB", "min_wal_size=16MB", "max_connections=100", "jit=off",
		"timezone=GMT", "log_timezone=GMT", "dynamic_shared_memory_type=mmap", "cluster_name=" + filepath.Base(p.dir),
	}
	if !o.Durable {
		settings = append(settings, "fsync=off", "full_page_writes=off")
	}
	args := []string{"-D", data}
	for _, setting := range append(settings, o.Settings...) {
		args = append(args, "-c", setting)
	}
	p.command = func() *exec.Cmd { return postgresCommand(p.home, "postgres", args...) }
	p.ready = p.answers
	return ctx.Err()
}

// Start starts the server again, after Kill or Shutdown. For a moment after a kill the server's own processes are still there and
// hold the shared memory, which a new one refuses to share.
func (p *Postgres) Start(ctx context.Context) error {
	for try := 0; ; try++ {
		err := p.server.Start(ctx)
		if err == nil || try == 20 || !strings.Contains(err.Error(), "shared memory block") {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// answers asks on the server's own socket for the name that no other server has.
func (p *Postgres) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	output, err := p.psql(ctx, "postgres", "SHOW cluster_name")
	if err == nil && output != filepath.Base(p.dir) {
		err = fmt.Errorf("another server, %q, answers", output)
	}
	return err
}

func (p *Postgres) makeUser(ctx context.Context) error {
	found, err := p.psql(ctx, "postgres", "CREATE ROLE app LOGIN")
	if err == nil {
		found, err = p.psql(ctx, "postgres", "CREATE DATABASE app OWNER app")
	}
	if err != nil {
		return fmt.Errorf("make the user app: %w: %s", err, found)
	}
	return nil
}

// psql runs one statement as postgres over the socket and returns what it prints.
func (p *Postgres) psql(ctx context.Context, database, statement string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout) // a database is made in seconds on a busy disk
	defer cancel()
	tool := p.Tool("psql", "--host="+p.Socket, fmt.Sprintf("--port=%d", p.Port), "--username=postgres", "--dbname="+database,
		"--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--set=ON_ERROR_STOP=1", "--command="+statement)
	cmd := exec.CommandContext(ctx, tool.Path, tool.Args[1:]...)
	cmd.Env = tool.Env
	output, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(output))
	if err != nil {
		return text, fmt.Errorf("%w: %s", err, text)
	}
	return text, nil
}

// Exec runs statements one after the other as postgres in the database app.
func (p *Postgres) Exec(ctx context.Context, statements ...string) error {
	for _, statement := range statements {
		if _, err := p.psql(ctx, "app", statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// Tool is a command that runs one of the programs that came with the server: psql, pg_dump.
func (p *Postgres) Tool(name string, args ...string) *exec.Cmd {
	return postgresCommand(p.home, name, args...)
}

// URL is the address for a client, as the user app in the database app.
func (p *Postgres) URL() string { return "postgres://app@" + p.Address() + "/app?sslmode=disable" }

// Stop ends the server in order and removes its data. It may be called more
// than once.
func (p *Postgres) Stop() error {
	err := p.server.Stop()
	if p.socketDir != "" {
		os.RemoveAll(p.socketDir) // a socket's folder; what stays is empty
	}
	return err
}
