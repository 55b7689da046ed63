package mysql

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
)

func TestSecretPrintsAsStars(t *testing.T) {
	cfg := Config{User: "u", Password: "hidden"}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", cfg, "password", cfg.Password)
	encoded, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q", cfg, cfg, cfg, cfg.Password, cfg.Password) + log.String() + string(encoded)
	if strings.Contains(all, "hidden") {
		t.Errorf("the password is in %s", all)
	}
	if !strings.Contains(all, stars) {
		t.Errorf("no stars in %s", all)
	}
}

func TestEndpoint(t *testing.T) {
	for address, want := range map[string]string{
		"": "tcp 127.0.0.1:3306", "db": "tcp db:3306", "db:1": "tcp db:1", "[::1]:5": "tcp [::1]:5", "[::1]": "tcp [::1]:3306",
		"::1": "tcp [::1]:3306", "/run/mysqld.sock": "unix /run/mysqld.sock",
	} {
		network, endpoint := Config{Address: address}.Endpoint()
		if got := network + " " + endpoint; got != want {
			t.Errorf("%q: got %s, want %s", address, got, want)
		}
	}
}

func TestServerID(t *testing.T) {
	if a, b := ServerID("shop"), ServerID("shop2"); a == b || a < 1<<31 || a != ServerID("shop") {
		t.Errorf("%d and %d", a, b)
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]string{
		"9.7.4": "9 7 4 mysql", "8.0.15-debug": "8 0 15 mysql", "10.11.14-MariaDB-0+deb12u2-log": "10 11 14 mariadb",
		"5.5.5-10.4.1-MariaDB": "10 4 1 mariadb", "8.0.36-28": "8 0 36 mysql",
	} {
		f, err := variables{"version": text}.facts()
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := fmt.Sprint(f.Major, f.Minor, f.Patch, " ", f.Flavor); got != want {
			t.Errorf("%s: got %s", text, got)
		}
	}
	if _, err := (variables{"version": "x"}).facts(); err == nil {
		t.Error("x is read as a version")
	}
	f := Facts{Major: 8, Minor: 2}
	if f.StatusStatement() != "SHOW BINARY LOG STATUS" || !f.AtLeast(8, 2, 0) || !f.AtLeast(8, 1, 9) || f.AtLeast(8, 2, 1) || f.AtLeast(9, 0, 0) {
		t.Error("8.2.0")
	}
	f = Facts{Major: 11, Flavor: gtid.MariaDB}
	if f.StatusStatement() != "SHOW MASTER STATUS" || f.CascadesLogged() {
		t.Error("MariaDB 11")
	}
}

// TestPlainAnswerInsteadOfTLS: a server that kills a connection while it is being made says so in plain text, where TLS is awaited.
// That passes by itself.
func TestPlainAnswerInsteadOfTLS(t *testing.T) {
	err := fmt.Errorf("connect: %w", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"})
	got := Config{Address: "db1:3306"}.Problem(err)
	if change.SeverityOf(got) != change.Retry || !strings.Contains(got.Error(), "before it was encrypted") {
		t.Errorf("%v is %v, want one that is tried again", got, change.SeverityOf(got))
	}
}
