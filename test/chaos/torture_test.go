package chaos

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/sluice-cdc/sluice/testbed"
)

// lastSaid is what the test binary ends with.
var lastSaid string

func TestMain(m *testing.M) {
	code := m.Run()
	if lastSaid != "" {
		fmt.Println(lastSaid)
	}
	os.Exit(code)
}

// TestTorture is the torture, a short one unless SLUICE_TORTURE_DURATION says otherwise: see `make torture`.
func TestTorture(t *testing.T) {
	if testing.Short() {
		t.Skip("starts six servers and burns a minute")
	}
	s, err := ParseSettings(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mysql-" + string(s.Source), "kafka"} {
		if err := testbed.Available(t.Context(), name); err != nil {
			t.Skipf("%s: %v", name, err)
		}
	}
	// Nobody may be left to read what is printed; what was started is removed all the same.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	result, err := Run(ctx, s, os.Stdout)
	lastSaid = result.String()
	switch {
	case err != nil:
		t.Errorf("%v\nto run it again: %s\nthe evidence: %s", err, s, result.Evidence)
	case result.Differences > 0:
		t.Errorf("%d differences, and no error", result.Differences)
	}
}
