package mysql

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
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

// TestPlainAnswerInsteadOfTLS: a server that kills a connection while it is being made speaks plainly where TLS is awaited, or stops in the
// middle of it. That passes by itself. What the server refuses does not.
func TestPlainAnswerInsteadOfTLS(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		want         change.Severity
		says         string
	}{
		{"an error packet", "\x1f\x00\x00\x02\xff\x9d\x07#70100Connection was killed", change.Retry, "before it was encrypted"},
		{"half an alert", "\x15\x03\x03\x00\x01\x02", change.Retry, "before it was encrypted"},
		{"application data", "\x17\x03\x03\x00\x02hi", change.Retry, "before it was encrypted"},
		{"no common cipher", "\x15\x03\x03\x00\x02\x02\x28", change.Configuration, "refused the encrypted connection"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Config{Address: "db1:3306"}.Problem(fmt.Errorf("connect: %w", handshakeAnsweredBy(t, c.answer)))
			if change.SeverityOf(err) != c.want || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v is %v, want %v and %q", err, change.SeverityOf(err), c.want, c.says)
			}
		})
	}
}

// handshakeAnsweredBy returns with what a client's handshake fails that is answered so.
func handshakeAnsweredBy(t *testing.T, answer string) error {
	client, server := net.Pipe()
	go func() {
		hello := make([]byte, 4096)
		if _, err := server.Read(hello); err == nil {
			server.Write([]byte(answer))
		}
		io.Copy(io.Discard, server) // its alert
	}()
	defer server.Close()
	defer client.Close()
	err := tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake()
	if err == nil {
		t.Fatalf("%q is a handshake", answer)
	}
	return err
}
