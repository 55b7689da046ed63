package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-cdc/sluice/testbed"
)

// TestCommittedFilesAreTheServers runs the generator against both families of servers and wants what it writes
// to be what is committed; against MariaDB it compares the maps too.
func TestCommittedFilesAreTheServers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real servers; -short leaves them out")
	}
	for version, files := range map[testbed.MySQLVersion][]string{
		testbed.MySQL97:     {"tables.bin", "collations_mysql.txt"},
		testbed.MariaDB1011: {"collations_mariadb.txt"},
	} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			m, err := testbed.StartMySQL(t.Context(), testbed.MySQLOptions{Version: version, Log: t.Logf})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := m.Stop(); err != nil {
					t.Error(err)
				}
			})
			dir := t.TempDir()
			if err := run(t.Context(), m.Config("root").FormatDSN(), dir); err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				got, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					t.Fatal(err)
				}
				want, err := os.ReadFile(filepath.Join("..", file))
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s is not what %s gives now: run the generator and see what changed", file, m.Version)
				}
			}
		})
	}
}
