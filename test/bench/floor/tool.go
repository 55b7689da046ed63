package floor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sluice-cdc/sluice/testbed"
)

// ToolOptions say what Dump and Binlog run. The programs know neither rows nor bytes, so they are told here.
type ToolOptions struct {
	// Command is the program with its arguments: see DumpCommand and BinlogCommand.
	Command []string
	// Rows are in what is read.
	Rows int64
	// Bytes are in what is read, for Dump; Binlog looks at its files.
	Bytes int64
	// Output is the file that Dump writes to; empty is /dev/null.
	Output string
	// Dir is the folder that Binlog's command writes into.
	Dir string
}

// Dump runs mysqldump.
func Dump(ctx context.Context, o ToolOptions) (Result, error) {
	path := o.Output
	if path == "" {
		path = os.DevNull
	}
	output, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return Result{}, err
	}
	defer output.Close()
	c := startClock()
	if err := o.run(ctx, output); err != nil {
		return Result{}, err
	}
	return c.result("dump", o.Rows, o.Bytes), nil
}

// Binlog runs mysqlbinlog. The folder must be empty.
func Binlog(ctx context.Context, o ToolOptions) (Result, error) {
	if size, err := folderBytes(o.Dir); err != nil || size > 0 {
		return Result{}, errors.Join(err, fmt.Errorf("folder %q: want an empty one", o.Dir))
	}
	c := startClock()
	if err := o.run(ctx, nil); err != nil {
		return Result{}, err
	}
	r := c.result("binlog", o.Rows, 0)
	var err error
	r.Bytes, err = folderBytes(o.Dir)
	return r, err
}

func (o *ToolOptions) run(ctx context.Context, output *os.File) error {
	if len(o.Command) == 0 {
		return errors.New("no command; want a program with its arguments behind --")
	}
	cmd := exec.CommandContext(ctx, o.Command[0], o.Command[1:]...)
	var errs strings.Builder
	cmd.Stderr = &errs
	if output != nil {
		cmd.Stdout = output // the file itself: no byte of it goes through this process
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %.1000s", filepath.Base(o.Command[0]), err, strings.TrimSpace(errs.String()))
	}
	return nil
}

func folderBytes(dir string) (total int64, err error) {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return 0, err
		}
		total += info.Size()
	}
	return total, err
}

// DumpCommand is mysqldump of one table, over TCP, in one consistent snapshot.
func DumpCommand(m *testbed.MySQL, database, table string) ([]string, error) {
	return tool(m, "mysqldump", append(login(m), "--single-transaction", "--set-gtid-purged=OFF", "--no-tablespaces", "--skip-lock-tables",
		"--hex-blob", database, table)...)
}

// BinlogCommand is mysqlbinlog of the server's binlog files from one on, over TCP as a replica reads them, copied as they are into a folder.
func BinlogCommand(m *testbed.MySQL, file, dir string) ([]string, error) {
	return tool(m, "mysqlbinlog", append(login(m), "--read-from-remote-server", "--raw", "--to-last-log", "--result-file="+dir+string(os.PathSeparator), file)...)
}

// login is how the tools reach the server. Without encryption, as everywhere in the benchmark.
func login(m *testbed.MySQL) []string {
	return []string{"--no-defaults", "--protocol=TCP", "--host=127.0.0.1", fmt.Sprintf("--port=%d", m.Port), "--user=app", "--password=app",
		"--ssl-mode=DISABLED", "--get-server-public-key"}
}

func tool(m *testbed.MySQL, name string, args ...string) ([]string, error) {
	cmd, err := m.Tool(name, args...)
	if err != nil {
		return nil, err
	}
	return append([]string{cmd.Path}, cmd.Args[1:]...), nil
}
