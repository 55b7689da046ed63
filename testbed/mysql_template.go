package testbed

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// templateUsers are in every server, one statement a line (8.0.15 reads an
// init file line by line):
//
//	root      no password, from localhost and 127.0.0.1, may do everything
//	cdc/cdc   exactly what a Sluice source asks for
//	app/app   everything; the writer of tests, and the user of a sink
var templateUsers = []string{
	"CREATE USER IF NOT EXISTS 'root'@'127.0.0.1' IDENTIFIED BY ''",
	"GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION",
	"CREATE USER 'app'@'%' IDENTIFIED BY 'app'",
	"GRANT ALL ON *.* TO 'app'@'%' WITH GRANT OPTION",
	"CREATE USER 'cdc'@'%' IDENTIFIED BY 'cdc'",
}

// sourcePrivileges are what the user of a source has. XA_RECOVER_ADMIN lets it
// see transactions prepared before its first start; MariaDB asks nothing for
// that, and has its own name for reading the binlog's position.
var sourcePrivileges = map[bool]string{
	false: "GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT, XA_RECOVER_ADMIN ON *.* TO 'cdc'@'%'",
	true:  "GRANT SELECT, REPLICATION SLAVE, BINLOG MONITOR ON *.* TO 'cdc'@'%'",
}

// mariadbBootstrap are the scripts that mariadb-install-db feeds to the server.
var mariadbBootstrap = []string{
	"mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql",
	"maria_add_gis_sp_bootstrap.sql", "mysql_sys_schema.sql",
}

func (h *mysqlHome) userStatements() []string {
	return append(append([]string{}, templateUsers...), sourcePrivileges[h.version.IsMariaDB()])
}

// makeTemplate initializes the data folder that every instance copies: copying
// takes a fraction of the seconds that an initialization takes.
func (h *mysqlHome) makeTemplate(ctx context.Context, log Log) error {
	log.printf("initializing the template data folder of %s", h.FullVersion)
	if h.version.IsMariaDB() {
		return h.makeMariaDBTemplate(ctx)
	}
	initFile := filepath.Join(h.dir, "users.sql")
	if err := os.WriteFile(initFile, []byte(strings.Join(h.userStatements(), ";\n")+";\n"), 0o644); err != nil {
		return err
	}
	defer os.Remove(initFile)
	args := append([]string{"--no-defaults", "--initialize-insecure"}, h.baseFlags()...)
	args = append(args, userFlag()...)
	args = append(args,
		"--datadir="+h.template(), "--init-file="+initFile, "--log-bin=binlog", "--server-id=1",
		"--innodb-use-native-aio=OFF", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=OFF", h.smallRedoFlag(),
	)
	if err := runQuietly(ctx, h.serverCommand(args...), nil); err != nil {
		return err
	}
	return h.cleanTemplate()
}

// makeMariaDBTemplate does what mariadb-install-db does, which is a shell
// script that would start the binaries without their loader.
func (h *mysqlHome) makeMariaDBTemplate(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(h.template(), "mysql"), 0o755); err != nil {
		return err
	}
	var script bytes.Buffer
	script.WriteString("USE mysql;\nSET @auth_root_socket=NULL;\n")
	for _, name := range mariadbBootstrap {
		content, err := os.ReadFile(filepath.Join(h.root(), "usr/share/mysql", name))
		if err != nil {
			return fmt.Errorf("read MariaDB's system tables: %w", err)
		}
		script.Write(content)
		script.WriteString("\n")
	}
	// FLUSH PRIVILEGES turns account management on, which --bootstrap turns off.
	script.WriteString("USE mysql;\nFLUSH PRIVILEGES;\n" + strings.Join(h.userStatements(), ";\n") + ";\n")
	args := append([]string{"--no-defaults", "--bootstrap"}, h.baseFlags()...)
	args = append(args, userFlag()...)
	args = append(args,
		"--datadir="+h.template(), "--enforce-storage-engine=", "--innodb-use-native-aio=OFF",
		"--innodb-flush-log-at-trx-commit=0", h.smallRedoFlag(), "--max-allowed-packet=8M", "--net-buffer-length=16K",
	)
	if err := runQuietly(ctx, h.serverCommand(args...), &script); err != nil {
		return err
	}
	return h.cleanTemplate()
}

// cleanTemplate removes what each instance must have of its own: its uuid
// (auto.cnf) and its binlogs, which it starts at number one.
func (h *mysqlHome) cleanTemplate() error {
	for _, pattern := range []string{"auto.cnf", "binlog.*", "*.err", "*.pid"} {
		found, err := filepath.Glob(filepath.Join(h.template(), pattern))
		if err != nil {
			return err
		}
		for _, path := range found {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// smallRedoFlag keeps the template, and so each copy, small.
func (h *mysqlHome) smallRedoFlag() string {
	if h.version == MySQL97 && h.Host == "" {
		return "--innodb-redo-log-capacity=8M"
	}
	return "--innodb-log-file-size=8M"
}

// userFlag answers the servers' refusal to run as root unasked.
func userFlag() []string {
	if os.Geteuid() == 0 {
		return []string{"--user=root"}
	}
	return nil
}

// runQuietly runs a command to its end under the context; its output is shown
// only when it fails. The child dies with this process.
func runQuietly(ctx context.Context, cmd *exec.Cmd, input io.Reader) error {
	var output bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &output, &output
	child, err := runProcess(cmd)
	if err != nil {
		return err
	}
	select {
	case <-child.done:
	case <-ctx.Done():
		_ = child.os.Kill() // an error means that it has ended
		<-child.done
		return ctx.Err()
	}
	if child.err != nil {
		return fmt.Errorf("%s: %w:\n%s", filepath.Base(cmd.Path), child.err, lastLines(output.Bytes(), 20))
	}
	return nil
}

// copyFolder copies regular files and folders.
func copyFolder(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o750)
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		target.Close()
		return err
	}
	return target.Close()
}
